"""Class colours that people can tell apart: for the shipped model, and for class tables that come without any.

Found offline: simulated annealing made the smallest colour difference (CIEDE2000) between any two as large as it could,
for normal vision and for simulated deuteranopia and protanopia (Machado, Oliveira and Fernandes 2009,
doi:10.1109/TVCG.2009.113, severity 1.0) at once, among colours that are bright and saturated enough to stand out on a
photo. The tests measure them anew.
"""

from __future__ import annotations

from pixelwise.labels import VOC, ClassTable, Colour

VOC_DISPLAY_COLOURS: tuple[Colour, ...] = (
    (0, 0, 0),  # background
    (61, 129, 242),  # aeroplane
    (255, 168, 12),  # bicycle
    (22, 242, 255),  # bird
    (15, 189, 167),  # boat
    (244, 147, 182),  # bottle
    (221, 107, 0),  # bus
    (207, 23, 153),  # car
    (255, 215, 0),  # cat
    (246, 169, 126),  # chair
    (0, 134, 108),  # cow
    (136, 109, 42),  # dining table
    (96, 185, 255),  # dog
    (225, 0, 6),  # horse
    (227, 11, 87),  # motorbike
    (110, 79, 255),  # person
    (21, 171, 57),  # potted plant
    (168, 253, 204),  # sheep
    (165, 140, 207),  # sofa
    (255, 108, 97),  # train
    (216, 247, 125),  # tv monitor
)
"""For `labels.VOC.names`, in their order. The development kit's own colours hide a cat, (64, 0, 0), on any photo.

People and animals that share photos (person, cat, dog, horse, sheep, cow) are furthest apart, then car, bird, chair and
bottle, then the rest.
"""

# RGB as hexadecimal, 255 of them. The first eight hold under colour-vision deficiency too; each later one is the
# furthest from all before it.
_DISTINCT = """
    ffa300 774aff 19ffff 008165 ee8ca9 e10100 66afff d7f5ad 1289a3 ea005f 0765b7 8a87c3 697934 f7b89a 8b6100 e6b8ff
    1ca81c 34e6a7 43ff00 13b2a8 ff46de b400a9 aa9054 8e5542 9f6282 ffde74 e76b02 ff6d61 a5b400 00d2ff e1ff00 96b487
    695a96 b47869 b4c3ff 00781e c387ff 4b78ff b4ffe1 b487b4 d200ff b41e69 00b478 87d269 b44b00 0087d2 006978 e1c396
    ffc3e1 e14b96 b42d3c d2a500 b4783c a569c3 877800 d26978 78961e ffb4b4 ff003c c39678 c3c378 5a965a 78d2d2 2da5d2
    ff96e1 ff965a 78693c ff4b1e 874b87 8796ff 964b5a 008787 87ff96 78c3a5 b4a5d2 3c694b a59600 1ea5b4 004bf0 d2964b
    c35a3c e19687 a5e11e 9600e1 96d2ff 87875a ffc369 5a69b4 e100b4 874bb4 e1d200 9669ff a57800 00d200 fff0b4 96b45a
    876996 b45a5a 4bffe1 96f0ff f0f078 4b870f c37896 a53c1e 4b9687 b4a5ff ff7887 ffc300 ff69b4 875a2d b4e1b4 96784b
    6987b4 d278d2 ff8700 00d269 d2ff78 0078a5 96a5d2 a5a569 b44b96 696900 4b6900 e1784b 0f9669 00d2c3 69b469 69b400
    a5694b ff4b87 ff78ff d25af0 c3a578 d2a5d2 00c3d2 ffb478 b4d269 69a587 c3b43c 3c692d e15a5a 7869d2 d27800 00963c
    b469a5 d2b469 a55a00 96ffc3 f0d2ff 5a96e1 c34b78 78e1c3 0fb4ff c30f1e c3d22d 5a784b d23c3c c38700 c3692d c396e1
    a54be1 87d296 4b78a5 0fe1f0 d21e87 87872d d296b4 00f05a 00a587 965aa5 00874b 7878a5 78c3e1 694bc3 ffe1b4 2d69e1
    d2874b 5a2dff 964b1e d28787 96f069 e14b00 ff8769 96c32d 9687f0 c34bc3 ff4b69 c32d5a ff9696 fff000 b41e87 ff0fb4
    96e1ff f04b3c d2c3ff 2db4d2 9678b4 e1e196 96fff0 5a5ae1 a56900 87965a a5ff2d 6969ff c30fd2 69a53c a578e1 0f6987
    4b8769 f000e1 a54b78 2dffa5 69874b d278b4 a5a53c 87783c 2dc3a5 ffb4f0 3c5ac3 e1a53c 6978d2 d27869 d22d4b c3d296
    e16996 b46978 a5870f e196ff 965a5a a54b3c 69b4a5 ff782d c3ffc3 f0a5b4 96b4ff 5a693c ffa5d2 c33c0f d25ab4 8769b4
    3c9696 78d21e ffa587 d28769 ff0087 e1c34b ffa54b 0f96d2 785a1e b47878 2da55a ff000f e1a578 697800 2d784b
"""


def for_display(table: ClassTable) -> ClassTable:
    """The same classes in colours that can be told apart on a photo; what is named "background" becomes black."""
    if table.names == VOC.names:
        return ClassTable(table.names, VOC_DISPLAY_COLOURS, table.ignore_index)
    distinct = iter(distinct_colours(len(table)))
    colours = tuple((0, 0, 0) if name.lower() == "background" else next(distinct) for name in table.names)
    return ClassTable(table.names, colours, table.ignore_index)


def distinct_colours(count: int) -> tuple[Colour, ...]:
    """Colours for the classes of a table that has none; a longer answer begins with every shorter one.

    Up to 8 can be told apart with any common colour-vision deficiency, and up to 28 at a glance with normal vision;
    beyond that they get closer, but no two are alike. All stand out on a photo; black is left for a background.

    Args:
        count: how many, 0 to 255.

    Returns:
        `count` different RGB colours, 0 to 255.

    Raises:
        ValueError: the count is outside 0 to 255.
    """
    if not 0 <= count <= 255:
        raise ValueError(f"{count} colours were asked for; a class table has at most 255 classes.")
    return tuple((r, g, b) for r, g, b in map(bytes.fromhex, _DISTINCT.split()[:count]))
