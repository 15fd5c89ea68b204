"""Pictures of a protocol: a contact sheet of people under its cases, and the gallery of all protocols that come with the package."""

from hpsbench.preview.files import check_picture_path, preview
from hpsbench.preview.gallery import on_embedded, write_gallery
from hpsbench.preview.sheet import Sheet, preview_sheet

__all__ = ["Sheet", "check_picture_path", "on_embedded", "preview", "preview_sheet", "write_gallery"]
