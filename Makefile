PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
DEMO := demo
RUNS ?= runs
PEOPLE := 27000

.PHONY: demo test bench lint weights clean

$(READY): setup.cfg constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[openhps,test]'
	touch $@

# The whole loop on the embedded set: an occluded test set, three models on it and on the clean one, and a leaderboard.
demo: $(READY)
	$(BIN)/hpsbench demo --out $(DEMO)

test: lint
	$(BIN)/pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(READY)
	$(BIN)/python -m benchmarks

# The bundled weights, from nothing, into $(RUNS): about three hours on two cores. Killed, it goes on.
weights: $(READY)
	$(BIN)/hpsbench make-openhps --people $(PEOPLE) --seed 7 --split train --out $(RUNS)/openhps-train
	$(BIN)/hpsbench train hybrik --data $(RUNS)/openhps-train --out $(RUNS)/hybrik
	$(BIN)/hpsbench train niki --data $(RUNS)/openhps-train --hybrik $(RUNS)/hybrik/hybrik.openhps.safetensors --out $(RUNS)/niki

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
