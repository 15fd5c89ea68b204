import json
import pickle
from dataclasses import replace
from importlib.resources import files

import pytest

from hpsbench.errors import ProtocolError, UnknownNameError
from hpsbench.protocol import load_protocol, protocol_names
from hpsbench.registry import load_plugin
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.store import sha256_of_bytes

# A changed hash is a changed measurement: give the protocol a new version, and pin that here.
PINNED = {
    "agora-validation-smplx.v1": "dcb9d6faa2054308868ac0c19a8c6add28f1fbf614b51ac38374576c15d4656e",
    "agora-validation-smplx-plain.v1": "84edd540294b36a6d819d50daa65ef726646412831f7e75221e27920318e83ea",
    "3doh-niki.v1": "875559c7394bfde3b77e8050c87d84aac0a57550032827582d3a7b09ce534356",
    "3doh-pare.v1": "5d89a44e9789bf9f28fa3d4d43668ba576066a0f3b14fc2325f71d505a8aad7d",
    "3dpw-niki-16.v1": "09e075e4362d1126b4a75c56a2e5f70a596de98d04ca153f814c78100dc554ae",
    "3dpw-vibe.v1": "f050ac37674d1e1f6f75ffae9d2233120b96bb2ad851de35871830064ab29f5f",
    "emdb-1.v1": "c5371456f1e9dfe074d97433d84dafb6efb6b653db47d222c382a24f595aacdd",
    "h36m-p1-rootnet.v2": "a158abd73a4296f9780ad90c8b12e89f2733e380e86600546fa10e26e4c52d1a",
    "h36m-p1-spin-masks.v1": "ba5ced8007fdf918f893f095d4593718a1aff6bcca42f7613a53a975157b3945",
    "h36m-p2-spin-masks.v1": "4dd6654e9e1ddeb77479a37d0624d07958e305a0d88b1721230ed49029bcf493",
    "3dpw-advocc-40.v1": "b16a0d3046b988eb5ce5992deac82f7bf553c1ad5965f22dd20bdd47fc8d1ee0",
    "3dpw-advocc-80.v1": "d1347c542c6906fefb13a47f6b5193e4c7559b63c9f43905aca33a2ac4e6bfeb",
    "3dpw-xocc-patch.v1": "9128262432affaea2aa5d5e10266198a38a5f55ed88cb14ec651bbc832217b66",
    "3dpw-xocc-window.v1": "30b4be135a8a8f119a667765fd6e5f9ccd6c326c34532a533ed62a5f61e07eac",
    "hkmr-bar.v1": "1b02b57669e083e7f5cfd73bb817629f3b93bf56c8af68bcc37a42c826f77574",
    "hkmr-bar-mean.v1": "db219a7fa5f8e7460864213b143f6c6a72581cabebf11b4e3829ea984304bdeb",
    "hkmr-bar-noise.v1": "d5395f24673a248a20db700ccaf2f131474c8af5ccbc607d1c81e8a5106ddbce",
    "hkmr-circle.v1": "7960b954e90bcabf5fe6b147d8701c95d0dc3024c0552fe45cf1792b5d1a5ec7",
    "hkmr-circle-mean.v1": "b0dbac5e7ebc877150534e3715360b8eee2d45e2ab2e332f4f431509eeaafd50",
    "hkmr-circle-noise.v1": "2c3fed1947f709588ef2fcb81a292757a088bedef14f183041d77966fc9092b1",
    "hkmr-rectangle.v1": "b614e3644b5481afeea9ebcbd2c8a28fdbbd9f69d2f05b933641f4b507501657",
    "hkmr-rectangle-mean.v1": "5bb6d0f965c087dddc31995c63eece70f3af167bf4fa4d53e0c219b46c3182a2",
    "hkmr-rectangle-noise.v1": "4de4ef09eea0740b087b21447ee002b12a43e988fa08dfe491aba93c31ee3838",
    "matched-bar.v1": "48808481f444313695045b67480d8ac0b1960230c10903ecbe6957beb2d1e0a9",
    "matched-bar-joints.v1": "5509c8bca0c3561be363e14349258257cdb2c94b9631eb6f43464a8cc36b0107",
    "matched-circle.v1": "474db4cd5c639e237ab0db99331312270e5ef5e60764a3979378acae9f146269",
    "matched-circle-joints.v1": "85747d1228dcb02dcf543bd5db07749fb611206a660b0fec51ce6fbb408f41a1",
    "matched-crop.v1": "de421dbc260fc1761f556816c3338f25ddeabaf4e6d231ddba06aa32849784ca",
    "matched-crop-joints.v1": "af1fb27708cd7319895a7d4e5f8e3b19f6dc6e395a8db54b2f8c8970ca224a29",
    "matched-noise.v1": "db6bf7d29e09afff89753bd55d764dbba0b0a83607e45a7118b076c1dfab3e6e",
    "matched-noise-joints.v1": "74db35dc16de0955cacac3d26f2a62123b47f1c044f3ce13a8358726ef7d48d6",
    "matched-object.v1": "a64edc7ccb45e8f6e69632768c985e9ceea3244eaee7d3a4afe162bc13234866",
    "matched-object-joints.v1": "07cd4d39dbc2d89fe79a8e07c14337edce52e6e31795682c0a18d12519a708be",
    "matched-rectangle.v1": "0c134494b6f681aee0e667550304ac883793eceadb53e26040974b0411d2e21d",
    "matched-rectangle-joints.v1": "99b2ca5fc0e8dd7134681adcdbac946555c1df79bece89912ab16b480a15197b",
    "pare-40-10.v1": "025cb2b6574f86b5d2271a92fa1d44d5839b267c488a5b54a466d07fb0fa3521",
    "pare-40-10-black.v1": "d903de77adfa96f26515d63ad60573617972d5b25ababbc97c820705956dc37f",
    "pare-40-20.v1": "e37477b96c6e5cd555d15f2693d5152433de166e24a105ba9e0a10604c0ba607",
    "pare-40-20-black.v1": "bc1aebbab762ab00fb0feb959e474444652c21806b0a2f096fdbb1d1f3b2c1c9",
    "pare-40-40.v1": "7a2e238caeb74f770e7fd1ad5533ed704f1bc83f7ce37636ad0d489552e76b61",
    "pare-40-40-black.v1": "0e5727e314409a0cbd605cf0623c96ce32b4c9b1b5c5ea0a9b1ec4f08d96b4fc",
    "pare-80-10.v1": "05839678c593931d0a690b7708a569848d5356e3abc463cf6fc1f368311c423a",
    "pare-80-10-black.v1": "c8f10709dcc69b45e42e229ec182e7d52da4f700403f937c32e67f992074df46",
    "3dcrowdnet-objects.v1": "c0c2f8ac993bf67f62ce492d88f9863311c67892f987922bae4ce5d92cc01288",
    "3dhp-test.v1": "86f3e72fc8ba2a9c16a6ee49dbed5b4e311b7d71fbda14565bf8cb6c81592884",
    "3dhp-test-14.v1": "595b72d5b331eb22a09ad65a3d159d453544c68d648e67d39dc35a50a93f1230",
    "3dhp-test-14-metric.v1": "26431d753c064bf2abae048c1b96a8aa4a2eccf345391e39203dc58994693a51",
    "3dhp-test-metric.v1": "637a2444724525a4fd1af0d478f75476590fe3face15973f45071cf1cee2e2d5",
    "3dhp-test-pa.v1": "9af2f2b90ea9a2a95fbcd89103d8ffb8320cf5c9256e0c127c6df2b2808fc089",
    "3doh-test.v1": "6e1b1f691361c7cd5b1d45843a428dfff5da6fe712fe7775b39367b0775bd84f",
    "3dpw-challenge.v1": "64d051937946ece5d90e4052efb08442039cf49a5e8b3a01ddc825ab69dc06a2",
    "3dpw-crowd.v1": "6714b10fcf4dbabc86c5aeb37d690a8e8ad734072fdba0d5281ba6c37dbec447",
    "3dpw-hips.v1": "e5475583fd46cdb7d2d8a2dee661ab2ab7968e89a21fc9ea0966ae7c227ec97d",
    "3dpw-niki.v1": "f0a20eca1a81ee0e81a16ed38d15ff5a611741fad175defce53740a232b249bd",
    "3dpw-occ.v1": "a76af008be612e67ebf4b45653be5f725a4a9f84f3c475ab121b9af47142b85d",
    "3dpw-pc.v1": "e265ecd1d4591ce3058828a1e57b26012801b5ff229e156a68fb65bd49ec1377",
    "3dpw-smpl24.v1": "21a64d3443068abb8642f8ed65d64152193a0fc12ae22e0a143d28cb5a0e17b8",
    "3dpw-test.v1": "09ff2046ae66237c25d1c9a10fd12b04be9da930337c6c1893362c2c89072671",
    "3dpw-xocc.v1": "8e85ae04a2718b642561af5d3c9ca72a81277bd30f007e4dbb3cfa0667278c57",
    "agora-validation.v1": "67aeafdd45c95340c8c9931b2a402398de2cbc8256051586a99d78ddc49c9dfc",
    "agora-validation-plain.v1": "34b17f6af6c7d7afdae87d6c8cb0b849def9b901d1d80ff7466e784c0ddbdf5f",
    "agora-validation-skinning.v1": "354e3a4ae6e7f761b9bab13c2277a28a3752639d2b514ce44228b2c93fd6289d",
    "eft-crop-levels.v1": "5c754b038011ad36f8cb79252a0731c0e2a9ff83c5dd0f495f8690d88f008fa7",
    "eft-upper-crops.v1": "4603fffe77c94bca917e6959a09455544e100811f23e308b1a381f57a0e5d6de",
    "h36m-occl-gbt.v1": "b298065d968b04ed61858749f137b9027e416e76177cd330de5e071d594e15bf",
    "h36m-occluded.v1": "01c5c16caa92ee1bb7447563b90f32b8a32e2ff6a7fedc1f8da50e629a4a621d",
    "h36m-p1-hmr.v1": "957d071c739e19e7b45ce5df0d43661784145e7a0162d859e54036385e1ed0b0",
    "h36m-p1-lifting.v1": "31491db44762154a4fe13ec7d749cf4ba741b5fb6c32a1fc3278d19076fb7479",
    "h36m-p1-spin.v1": "e186db304737cbb124c422dfd10523936b05619d58f1dbc596f48e77bbaa3b99",
    "h36m-p2-fits.v1": "cfea8e0236d9a8feeda4c976d2d430035148152051d44bc4585cd2e809954efc",
    "h36m-p2-hmr.v1": "b5985dd16623c892684ed0b539d29d844ba1595fd2134f0091208e5c7c5d6bfc",
    "h36m-p2-hybrik.v1": "2b059856eb48ad496dafb38e77d97a9214e7fab0eca90e096158506881cc70b0",
    "h36m-p2-lifting.v1": "f42d554c3ac314edcd501c6efd64614009922d06eaefdd97f09bd4e804db1d14",
    "h36m-p2-rootnet.v1": "e750732abf6cfb023ebb7bf3ff6ad221c5e50d5e1e2373cb733765fd546bb9de",
    "h36m-p2-spin.v1": "573f6dd089b4d0d20e7ec617f2c2d764db53b54002cf780d013338585b208c1c",
    "hard-erasing.v1": "af7b0c946be0f794d406af639c72793b2d162034d3bf29dca0ccce8b99723ac3",
    "hmr2-part-crops.v1": "556fb78da5205f915f54d157d832e416edeca12a21e812502d97879f259e4227",
    "hybrik-half-body.v1": "75de89fcdc9768a6c68a5a11fd2ecaf114de08f910086dc67ad63b5f4982b015",
    "hybrik-rectangle.v1": "1bed00155e727923ce1e3da74e5a51efd92bbad79790d97fabacabd9719d48fe",
    "openhps-test.v1": "4b02fb529e0483760e9010241428826c4dce1d96bef6dd201025cdb86f56c346",
    "openhps-xocc.v1": "695a812f9c0ba3931cefac2641ce64256726035b0065b069d01476d3111ffb22",
    "random-erasing.v1": "d5065bc986ad967678f4bda56aab2719a814e70964b41668f38f24bd79568365",
    "random-erasing-metro.v1": "04ac00d003d1375a7441f07b2c87f863666e90d87d172347e2d2371511ea8fbc",
    "sarandi-bars.v1": "1bd907bf84694cddc9cd6d547cca1887f5398c44266ddd421c523c3bafee60e5",
    "sarandi-circles.v1": "fa892cf18bd16fab4b5c3754fe784117de2fe04bb56d3853f99d49ead65cc94e",
    "sarandi-mixture.v1": "0a1e3ea8ce1715eccc41fb12cc9bb4538cc777d53b59753f1f4b85b4e5187504",
    "sarandi-objects.v1": "d592f5bf85e90c6651402c7523b9d1fd2230b9290d0417d95191a3ba2cb982bd",
    "sarandi-rectangles.v1": "5256d3d99f49ad1a5454f59c346d82119e73895820912bdf708a512cf2c6c3c4",
    "key-points-gbt.v1": "52ee7c95cd7a8dd7356e64d9156031d94b34272e5b15bc3fb08520c28a516c8f",
    "key-points-gvhmr.v1": "077147bf34e44769329d4986bd32895f3600ac117958242700d1aa120e6ebbf0",
    "key-points-gvhmr-joints.v1": "4238cdac41c7e16ac69ac0e18a0680989011fa17696c9bf3b6fbfd4180762f5d",
    "key-points-gvhmr-legs.v1": "1d2c04d2a8b79c8408b18086e551679490ede2ce0c253382637d460a7682a7a0",
    "matched-bar-mask.v1": "f085856accc6aeba514fee20ed986c9716ac31e99b66ae27a06ecda3bd04b13b",
    "matched-circle-mask.v1": "3b8bf84297e1a474f52dda9f31e4df989adaa0519de8be0334b283536349def0",
    "matched-crop-mask.v1": "a36a6f09ec1a95f853eba3a196c9440a4c510bd863f421f6040a4ac72b36bb6e",
    "matched-noise-mask.v1": "d091187d3d44da6c60cb50d13c504bd5fe99e01d0a6ffd261e62ea7b2aca2e6d",
    "matched-object-mask.v1": "978fd0cf679878e969274cb60135e590444b33ef1339d8ceb9c51c2953228afe",
    "matched-rectangle-mask.v1": "79bf8b215a04ff701bbfc3cb52c4bfce6c99f15319618c7bd6ef35203d445ed1",
    "openhps-temporal-flickering.v1": "213b84f98b14b1569652514aff69a2bac69ae799aec75e094056630ed04c53e8",
    "openhps-temporal-keyframed.v1": "9667e6fd77faf3f8f99b0c98ecbcdd97765467bd99f95ed8c614095ce9dbd1b3",
    "openhps-temporal-moving.v1": "7104b29fe1d07a930e8c823efe492d189a883ac94bcaff93ba972fd20a899919",
    "openhps-temporal-static.v1": "449b135dbf645c7b07d4932e4d7c967c22c0d7e804750d0738c1beb272406509",
    "temporal-flickering.v2": "b1a61c59db678ecd9e38e99028c26a6e111a6e20a32d1ec639988e0a6bfb0e70",
    "temporal-keyframed.v2": "c011b3e6cfc1def529ba76cd7307a2958cd7cda2e21c29009a037fd0f3c5bdae",
    "temporal-moving.v2": "c457a4e2a75ee03e27bf7c9bc4d3145a6d067c71d31d46dd0ddb253dee757850",
    "temporal-static.v2": "bccbd378f9db8cd4f2f4a909a4617ef9443590fbba58b562e130accfc1b31664",
    "vertical-half-crop.v1": "7264a8088519a1954d405dd76759faa0a6fc17529c92a1d2ce69d8b6a6d0ae9a",
    "voc-objects.v1": "980bde5c4ab36f8da3846e97739dc35f0dc7bc0408373c833654744627bf20bb",
}


def write(tmp_path, text, name="mine.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(path, message):
    with pytest.raises(ProtocolError, match=message):
        load_protocol(path)


def whole(**changes):
    """The text of a complete protocol file, with values replaced by key."""
    values = {
        "name": '"mine"',
        "version": "1",
        "what": '"w"',
        "source": '"s"',
        "seed": "0",
        "seeding": '"by-sample"',
        "bbox_scale": "1.0",
        "metrics": '["mpjpe"]',
        "root": '"pelvis"',
        "joints": '"eval14"',
        "regressor": '"h36m17"',
        "pa_fit": '"eval14"',
    } | changes
    head = "".join(f"{key} = {values[key]}\n" for key in ("name", "version", "what", "source", "seed", "seeding"))
    data = f'[data]\ndataset = "3dpw"\nsplit = "test"\nframes = "all"\nbbox = "keypoints"\nbbox_scale = {values["bbox_scale"]}\n'
    score = "".join(f"{key} = {values[key]}\n" for key in ("metrics", "root", "joints", "regressor", "pa_fit"))
    rest = 'gt_gender = "gendered"\npve_align = "none"\naveraging = "pooled"\non_failure = "nan"\n'
    return f"{head}{data}[score]\n{score}{rest}"


class TestCommittedProtocols:
    def test_each_is_pinned(self):
        assert {protocol.id: protocol.sha256 for protocol in map(load_protocol, protocol_names())} == PINNED

    @pytest.mark.parametrize("name", protocol_names())
    def test_name_is_the_files(self, name):
        protocol = load_protocol(name)
        assert protocol.name == name
        assert protocol.what
        assert protocol.source

    @pytest.mark.parametrize("rules", ["test", "xocc"])
    def test_openhps_differs_in_data_only(self, rules):
        theirs, ours = load_protocol(f"3dpw-{rules}").content, load_protocol(f"openhps-{rules}").content
        assert {key for key in theirs if theirs[key] != ours[key]} == {"name", "data"}

    def test_xocc_differs_from_the_clean_protocol_in_its_occluders_only(self):
        clean, hidden = load_protocol("3dpw-test").content, load_protocol("3dpw-xocc").content
        assert {key for key in clean if clean[key] != hidden[key]} == {"name", "occluders"}
        assert [rule["kind"] for rule in hidden["occluders"]] == ["truncation-window", "noise-patch"]

    @pytest.mark.parametrize("name", protocol_names())
    def test_data_rules_are_those_of_the_dataset(self, name):
        rule = load_protocol(name).data
        load_plugin("dataset", rule.dataset).check_rules(rule.split, rule.frames, rule.bbox, rule.bbox_scale)

    @pytest.mark.parametrize(
        ("name", "base", "differs"),
        [
            ("3dpw-niki", "3dpw-test", {"pa_fit": "h36m17", "gt_gender": "neutral"}),
            ("3dpw-hips", "3dpw-test", {"root": "hips"}),
            ("3dpw-smpl24", "3dpw-test", {"joints": "smpl24", "regressor": "smpl24", "pa_fit": "smpl24"}),
            ("h36m-p2-spin", "h36m-p1-spin", {}),
            ("h36m-p2-hmr", "h36m-p1-hmr", {}),
            ("h36m-p2-lifting", "h36m-p1-lifting", {"metrics": ["pa_mpjpe"]}),
            ("3dhp-test-metric", "3dhp-test", {}),
            ("3dhp-test-14-metric", "3dhp-test-14", {}),
        ],
    )
    def test_variants_differ_in_what_their_name_says(self, name, base, differs):
        theirs, ours = load_protocol(base).content, load_protocol(name).content
        assert {key: value for key, value in ours["score"].items() if theirs["score"].get(key) != value} == differs
        assert (theirs["data"] == ours["data"]) == bool(differs)

    def test_no_two_measure_the_same(self):
        contents = [{key: value for key, value in load_protocol(name).content.items() if key != "name"} for name in protocol_names()]
        assert all(one not in contents[:place] for place, one in enumerate(contents))

    def test_h36m_says_which_truth_it_has(self):
        truths = {name: load_protocol(name).score.gt_joints for name in protocol_names() if name.startswith("h36m")}
        assert truths.pop("h36m-p2-fits") == "body"
        assert set(truths.values()) == {"annotated"}

    def test_the_joints_that_evaluators_count(self):
        """3DHP's evaluator: its 17 without pelvis, spine and head. The challenge: SMPL's joints by number."""
        of_3dhp = [name for name in JOINT_NAMES["mpi17"] if name not in ("pelvis", "spine", "head")]
        assert sorted(load_protocol("3dhp-test-14").score.pck_joints) == sorted(of_3dhp)
        numbers = (1, 2, 4, 5, 7, 8, 16, 17, 18, 19, 20, 21)
        assert load_protocol("3dpw-challenge").score.pck_joints == tuple(JOINT_NAMES["smpl24"][number] for number in numbers)


class TestHash:
    def test_later_words_at_their_default_leave_it_alone(self, tmp_path):
        first = load_protocol(write(tmp_path, whole()))
        more = 'pa_scale = "fitted"\nby = []\npck_mm = 150\nauc_steps = 31\ngt_joints = "body-if-any"\n'
        same = load_protocol(write(tmp_path, whole() + more))
        assert (same.sha256, same.content) == (first.sha256, first.content)
        assert not set(first.content["score"]) & set(first.score.later)
        for line in ('pa_scale = "one"', 'by = ["joint"]', "pck_mm = 50", "auc_steps = 30", 'gt_joints = "body"', 'accepts = ["mpi17"]'):
            assert load_protocol(write(tmp_path, f"{whole()}{line}\n")).sha256 != first.sha256, line

    def test_is_of_the_canonical_content(self):
        protocol = load_protocol("3dpw-xocc")
        text = json.dumps(protocol.content, sort_keys=True, separators=(",", ":"))
        assert protocol.sha256 == sha256_of_bytes(text.encode())

    def test_text_does_not_count_and_numbers_do(self, tmp_path):
        first = load_protocol(write(tmp_path, whole()))
        assert load_protocol(write(tmp_path, whole(what='"other words"') + "# a comment")).sha256 == first.sha256
        assert load_protocol(write(tmp_path, whole(bbox_scale="1"))).sha256 == first.sha256
        assert load_protocol(write(tmp_path, whole(bbox_scale="1.2"))).sha256 != first.sha256
        assert load_protocol(write(tmp_path, whole(seed="1"))).sha256 != first.sha256

    def test_a_protocol_travels_to_a_worker(self):
        protocol = load_protocol("3dpw-xocc")
        assert pickle.loads(pickle.dumps(protocol)) == protocol
        assert replace(protocol, seed=1).sha256 != protocol.sha256


class TestAgora:
    def test_without_the_table_nothing_is_said_of_it(self, tmp_path):
        protocol = load_protocol(write(tmp_path, whole()))
        assert protocol.agora is None
        assert "agora" not in protocol.content

    def test_the_table_counts(self):
        literal, plain = load_protocol("agora-validation"), load_protocol("agora-validation-plain")
        assert literal.content["agora"] == {"literal": True, "vertices": "file"}
        assert replace(plain, agora=literal.agora, name=literal.name).sha256 == literal.sha256 != plain.sha256

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ("[agora]\nliteral = true\n", r"agora: no value for vertices"),
            ('[agora]\nliteral = 1\nvertices = "file"\n', r"agora\.literal: 1 found, but true or false was expected"),
            ('[agora]\nliteral = true\nvertices = "files"\n', r"agora\.vertices: 'files' found.*Did you mean 'file'\?"),
            ('[agora]\nliteral = true\nvertices = "file"\nbins = 9\n', r"agora: unknown key 'bins'"),
            ('[agora]\nliteral = true\nvertices = "file"\n', r"data\.dataset: '3dpw' found, but 'agora' or 'agora-4k' was expected beside"),
        ],
    )
    def test_wrong_tables(self, tmp_path, table, message):
        refused(write(tmp_path, whole() + table), message)

    def test_the_key_is_a_table(self, tmp_path):
        refused(write(tmp_path, "agora = true\n" + whole()), "agora: True found, but a table of keys was expected")


class TestBase:
    def test_tables_are_overridden_key_by_key_and_lists_whole(self, tmp_path):
        write(tmp_path, whole(), "below.toml")
        text = 'name = "above"\nversion = 2\nwhat = "w"\nsource = "s"\nbase = "below.toml"\n[score]\nmetrics = ["pve"]\n'
        protocol = load_protocol(write(tmp_path, text))
        assert protocol.id == "above.v2"
        assert protocol.score.metrics == ("pve",)
        assert protocol.score.on_failure == "nan"

    def test_name_and_version_are_not_inherited(self, tmp_path):
        refused(write(tmp_path, 'base = "3dpw-test"\nwhat = "w"\nsource = "s"\n'), "no value for name, version")

    def test_a_circle_is_named(self, tmp_path):
        write(tmp_path, f'base = "{tmp_path}/b.toml"\n', "a.toml")
        write(tmp_path, f'base = "{tmp_path}/a.toml"\n', "b.toml")
        refused(tmp_path / "a.toml", "circle")

    def test_an_unknown_base(self, tmp_path):
        with pytest.raises(UnknownNameError, match="Did you mean '3dpw-test'"):
            load_protocol(write(tmp_path, 'base = "3dpw-tset"\n'))


class TestBadFiles:
    def test_unknown_name(self):
        with pytest.raises(UnknownNameError, match=r"Did you mean '3dpw-xocc'\? Known: .*3dpw-test, "):
            load_protocol("3dpw-xoc")

    def test_missing_file(self, tmp_path):
        refused(tmp_path / "none.toml", r"none\.toml cannot be read")

    def test_no_toml(self, tmp_path):
        refused(write(tmp_path, "name = \n"), "no TOML")

    def test_unknown_key(self, tmp_path):
        refused(write(tmp_path, "sed = 1\n" + whole()), r"unknown key 'sed'\. Did you mean 'seed'\?")
        refused(write(tmp_path, whole() + "rooot = 1\n"), r"score: unknown key 'rooot'\. Did you mean 'root'\?")

    def test_missing_key(self, tmp_path):
        refused(write(tmp_path, whole().replace("bbox_scale = 1.0\n", "")), r"data: no value for bbox_scale")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"version": '"1"'}, "version: '1' found, but a whole number was expected"),
            ({"version": "0"}, "version: 0 found, but 1 or more"),
            ({"seed": "true"}, "seed: True found, but a whole number"),
            ({"seed": "1.5"}, "seed: 1.5 found, but a whole number"),
            ({"bbox_scale": "nan"}, "data.bbox_scale: nan found, but a number"),
            ({"seeding": '"by-smaple"'}, r"seeding: 'by-smaple' found.*Did you mean 'by-sample'\?"),
            ({"root": '"hip"'}, r"score.root: 'hip' found, but one of pelvis, hips was expected\. Did you mean 'hips'\?"),
            ({"metrics": '"mpjpe"'}, r"score.metrics: 'mpjpe' found, but a list"),
            ({"metrics": "[1]"}, r"score.metrics\[0\]: 1 found, but text"),
            ({"metrics": "[]"}, "expected at least one and none twice, but got none"),
        ],
    )
    def test_wrong_values(self, tmp_path, changes, message):
        refused(write(tmp_path, whole(**changes)), message)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"regressor": '"coco17"', "joints": '"coco17"', "pa_fit": '"coco17"'}, "No joint of skeleton 'coco17' named 'pelvis'"),
            ({"regressor": '"coco17"', "joints": '"eval14"'}, "No joint of skeleton 'coco17' named 'neck'"),
            ({"pa_fit": '"smpl24"'}, "No joint of skeleton 'h36m17' named"),
            ({"regressor": '"eval14"', "pa_fit": '"eval14"', "joints": '"eval14"'}, "No joint of skeleton 'eval14' named 'pelvis'"),
        ],
    )
    def test_joints_and_root_are_those_of_the_regressor(self, tmp_path, changes, message):
        with pytest.raises(UnknownNameError, match=message):
            load_protocol(write(tmp_path, whole(**changes)))

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ('pa_scale = "on"', r"score.pa_scale: 'on' found, but one of fitted, one was expected"),
            ('by = ["actions"]', r"score.by\[0\]: 'actions' found.*Did you mean 'action'\?"),
            ('by = ["joint", "joint"]', "by: expected none twice, but got joint, joint"),
            ('pck_joints = ["neck", "neck"]', "pck_joints: expected none twice"),
            ("pck_mm = 0", "expected two numbers above 0 and at least 2 steps, but got 0.0, 150.0 and 31"),
            ("auc_mm = -1", "two numbers above 0"),
            ("auc_steps = 1", "at least 2 steps"),
            ("onset_before = 0", "expected at least 1 frame, at least 0 and a number above 0, but got 0, 30 and 10"),
            ("recovery_mm = 0", "a number above 0"),
            ('by = ["onset"]', "'onset' found, but no occluder whose plans tell one"),
        ],
    )
    def test_wrong_later_words(self, tmp_path, line, message):
        refused(write(tmp_path, f"{whole()}{line}\n"), message)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ('accepts = ["mpi18"]', r"No skeleton named 'mpi18'\. Did you mean 'mpi"),
            ('pck_joints = ["left_toe"]', "No joint of skeleton 'h36m17' named 'left_toe'"),
        ],
    )
    def test_unknown_names_in_later_words(self, tmp_path, line, message):
        with pytest.raises(UnknownNameError, match=message):
            load_protocol(write(tmp_path, f"{whole()}{line}\n"))

    def test_unknown_names_inside(self, tmp_path):
        with pytest.raises(UnknownNameError, match=r"No metric named 'mpjp'\. Did you mean 'mpjpe'\?"):
            load_protocol(write(tmp_path, whole(metrics='["mpjp"]')))
        with pytest.raises(UnknownNameError, match="No skeleton named 'eval15'"):
            load_protocol(write(tmp_path, whole(joints='"eval15"')))
        with pytest.raises(UnknownNameError, match=r"No occluder named 'noise-pach'\. Did you mean 'noise-patch'\?"):
            load_protocol(write(tmp_path, whole() + '[[occluders]]\nkind = "noise-pach"\n'))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ("kind = 3", "a table with the key 'kind'"),
            ('kind = "noise-patch"\ninterval = 8', r"occluders\[0\] \(noise-patch\): no value for box, base_scale"),
            ("", "a table with the key 'kind'"),
        ],
    )
    def test_wrong_occluders(self, tmp_path, changes, message):
        refused(write(tmp_path, f"{whole()}[[occluders]]\n{changes}\n"), message)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("interval = 8", "interval = 0", "an interval of at least 1"),
            ("ratio = [0.5, 2.0]", "ratio = [2.0, 0.5]", r"area and ratio as \[smallest, largest\]"),
            ("ratio = [0.5, 2.0]", "ratio = [0.5]", r"ratio: 1 values found, but 2"),
            ('unseen = ["neck", "head_top"]', 'unseen = ["nek"]', "no joint named 'nek' in eval14"),
            ("side_scale = [0.95, 1.35]", "side_scale = [0, 1]", "above 0"),
        ],
    )
    def test_wrong_numbers_of_xocc(self, tmp_path, old, new, message):
        text = files("hpsbench.protocols_data").joinpath("3dpw-xocc.toml").read_text(encoding="utf-8")
        assert load_protocol(write(tmp_path, text)) == load_protocol("3dpw-xocc")
        refused(write(tmp_path, text.replace(old, new)), message)

    def test_occluders_must_be_tables(self, tmp_path):
        refused(write(tmp_path, "occluders = 3\n" + whole()), r"tables headed \[\[occluders\]\]")
