"""Which files are taken for pictures: their suffixes, and the largest that is opened."""

from __future__ import annotations

MAX_PIXELS = 89_478_485  # Pillow's own limit, a quarter of a gigabyte of RGB

_PILLOW = """
.apng .avif .avifs .blp .bmp .bw .cur .dcx .dds .dib .fit .fits .flc .fli .ftc .ftu .gbr .gif .icb
.icns .ico .im .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .mpo .msp .pbm .pcd .pcx .pfm
.pgm .png .pnm .ppm .psd .pxr .qoi .ras .rgb .rgba .sgi .tga .tif .tiff .vda .vst .webp .xbm .xpm
"""
_HEIF = ".heic .heics .heif .heifs .hif"
# What Pillow reads as pictures, and pi-heif. A test compares them with the libraries.
SUFFIXES = frozenset((*_PILLOW.split(), *_HEIF.split()))

# Formats of Pillow that are left alone: data that it does not decode, and PostScript, a program.
NOT_PICTURES = frozenset(
    ("BUFR", "EPS", "FPX", "GRIB", "HDF5", "IPTC", "MIC", "MPEG", "PDF", "WMF", "XVTHUMB")
)

# What people have among their pictures, and what it is called when it is passed over.
_RAW = """
.3fr .arw .cr2 .cr3 .crw .dng .erf .iiq .kdc .mef .mrw .nef .nrw .orf .pef .raf .rw2 .rwl .sr2 .srf
.srw .x3f
"""
_VIDEO = ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv"
RAW_SUFFIXES = frozenset(_RAW.split())
VIDEO_SUFFIXES = frozenset(_VIDEO.split())


def split_suffix(path: str) -> tuple[str, str]:
    """A file's path without its suffix, and the suffix in lower case, as Path has them, which takes
    longer than to find the file."""
    dot = path.rfind(".")
    if dot > path.rfind("/") + 1:
        return path[:dot], path[dot:].lower()
    return path, ""
