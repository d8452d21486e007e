"""What determines a feature's value, in one frozen record."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

from lungpipe.errors import DatasetError
from lungpipe.radiomics.classes import checked_classes
from lungpipe.radiomics.ibsi_filters import IbsiFilter, is_ibsi
from lungpipe.radiomics.image_types import FilterParameters, image_type, nearest, type_of
from lungpipe.radiomics.texture import TextureSettings

if TYPE_CHECKING:
    from lungpipe.radiomics.preparation import Normalisation, Resegmentation

Interpolation = Literal["float32", "int16", "own"]

#: Interpolators that PyRadiomics accepts, by their names in SimpleITK.
INTERPOLATORS = (
    "sitkBSpline", "sitkNearestNeighbor", "sitkLinear", "sitkGaussian", "sitkLabelGaussian", "sitkHammingWindowedSinc",
    "sitkCosineWindowedSinc", "sitkWelchWindowedSinc", "sitkLanczosWindowedSinc", "sitkBlackmanWindowedSinc",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RadiomicsSettings:
    """Settings of an extraction.

    Parameters
    ----------
    bin_width_hu : float
        Width of a grey-level bin, HU. ``texture.bin_width`` follows it.
    spacing_mm : tuple of float, optional
        Voxel sides (x, y, z), mm, to which image and masks are resampled (nearest neighbour for masks); 0 keeps the
        image's own along an axis. None keeps the image's own grid.
    interpolation : {"float32", "int16", "own"}
        Type in which resampled HU are kept. PyRadiomics keeps the image's own, which for DICOM rounds to whole HU;
        that changes features by more than one per cent, so the choice has a name.
    filters : tuple of str
        Image types, a key each of :data:`lungpipe.radiomics.image_types.IMAGE_TYPES` (PyRadiomics') or of
        :data:`lungpipe.radiomics.ibsi2.names.FILTERS` (IBSI-2's); the case of letters does not count.
    texture : TextureSettings
        How grey levels and matrices are made, of every image type without an entry in ``overrides``.
    classes : tuple
        Pairs of a feature class and the names of its features (none: all of them), in PyRadiomics' words. Empty: what
        PyRadiomics computes by default, which is all but ``shape2D``.
    parameters : FilterParameters
    overrides : tuple
        Pairs of an image type and the TextureSettings that count for it instead.
    ibsi : tuple of IbsiFilter
        IBSI-2's filters among ``filters``, with their parameters; those that are not there have none.
    interpolator : str
        One of :data:`INTERPOLATORS`.
    pad_distance : int, optional
        None filters a region as if the whole image had been resampled and filtered: how far past the region the image
        is read follows from each filter's reach. A number is PyRadiomics' ``padDistance``, in voxels: each region's own
        crop, wider by it on every side, is what is filtered, so that values near the crop's edge are of the edge's
        making. It counts where there is resampling, or ``pre_crop``.
    pre_crop : bool
        Whether to crop so without resampling too. ``preCrop``.
    resegment : Resegmentation, optional
    normalise : Normalisation, optional
    min_dimensions : int
        Fewest axes along which a region must be longer than one voxel. ``minimumROIDimensions``.
    min_voxels : int, optional
        A region must have more voxels than this. ``minimumROISize``.

    Raises
    ------
    DatasetError
        If a value makes no sense.
    """

    bin_width_hu: float = 25.0
    spacing_mm: tuple[float, float, float] | None = (1.0, 1.0, 1.0)
    interpolation: Interpolation = "float32"
    filters: tuple[str, ...] = ("original",)
    texture: TextureSettings = field(default_factory=TextureSettings)
    classes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    parameters: FilterParameters = field(default_factory=FilterParameters)
    overrides: tuple[tuple[str, TextureSettings], ...] = ()
    ibsi: tuple[IbsiFilter, ...] = ()
    interpolator: str = "sitkBSpline"
    pad_distance: int | None = None
    pre_crop: bool = False
    resegment: Resegmentation | None = None
    normalise: Normalisation | None = None
    min_dimensions: int = 2
    min_voxels: int | None = None

    def __post_init__(self) -> None:
        self._take_bin_width()
        if self.spacing_mm is not None and not (
            len(self.spacing_mm) == 3 and all(0 <= s < math.inf for s in self.spacing_mm)
        ):
            raise DatasetError(
                f"features.spacing_mm must be three lengths (x, y, z), or 0 for the image's own, found {self.spacing_mm}"
            )
        if self.interpolation not in get_args(Interpolation):
            raise DatasetError(
                f"features.interpolation: no type {self.interpolation!r}{nearest(self.interpolation, get_args(Interpolation))}"
            )
        if self.interpolator not in INTERPOLATORS:
            raise DatasetError(f"no interpolator {self.interpolator!r}{nearest(self.interpolator, INTERPOLATORS)}")
        object.__setattr__(self, "filters", tuple(image_type(name) for name in self.filters))
        if not self.filters or len(set(self.filters)) < len(self.filters):
            raise DatasetError(
                f"features.filters must name one image type or more, each once; found {list(self.filters)}"
            )
        self._check_ibsi()
        checked = tuple((image_type(name), texture) for name, texture in self.overrides)
        object.__setattr__(self, "overrides", checked)
        object.__setattr__(self, "classes", checked_classes(self.classes, self.texture))
        if self.pre_crop and self.pad_distance is None:
            raise DatasetError("pre_crop needs a pad_distance: how many voxels round the region are kept")
        if self.pad_distance is not None and self.pad_distance < 0:
            raise DatasetError(f"features.pad_distance must not be negative, found {self.pad_distance}")
        if self.min_dimensions not in {1, 2, 3}:
            raise DatasetError(f"the least number of dimensions is 1, 2 or 3, found {self.min_dimensions}")
        if self.min_voxels is not None and self.min_voxels < 1:
            raise DatasetError(f"the least number of voxels must be positive, found {self.min_voxels}")

    def _check_ibsi(self) -> None:
        """Complete IBSI-2's filters and see that they are defined on the grid."""
        given = {one.name: one for one in self.ibsi}
        if unused := sorted(set(given) - set(self.filters)):
            raise DatasetError(f"{unused[0]} has parameters but is not among features.filters")
        found = tuple(given.get(name) or IbsiFilter(name) for name in self.filters if is_ibsi(name))
        object.__setattr__(self, "ibsi", found)
        for one in found:
            one.check(None if self.spacing_mm is None else self.spacing_mm[::-1])

    def _take_bin_width(self) -> None:
        """Hand the bin width to the texture settings, which must not have another of their own."""
        if not 0 < self.bin_width_hu < math.inf:
            raise DatasetError(f"features.bin_width_hu must be positive and finite, found {self.bin_width_hu}")
        own = self.texture.bin_width
        if own not in {TextureSettings().bin_width, self.bin_width_hu}:
            raise DatasetError(
                f"two bin widths: bin_width_hu is {self.bin_width_hu} and texture.bin_width {own}; give bin_width_hu "
                "alone, or change it with RadiomicsSettings.with_bin_width"
            )
        object.__setattr__(self, "texture", replace(self.texture, bin_width=self.bin_width_hu))

    def with_bin_width(self, bin_width_hu: float) -> RadiomicsSettings:
        """The same settings with another bin width, HU."""
        return replace(self, bin_width_hu=bin_width_hu, texture=replace(self.texture, bin_width=bin_width_hu))

    def texture_of(self, image_name: str) -> TextureSettings:
        """Texture settings of an image by its type or by its name, such as ``wavelet-LLH``."""
        return dict(self.overrides).get(type_of(image_name), self.texture)

    @property
    def crops_first(self) -> bool:
        """Whether each region's own crop is filtered, and not the whole image."""
        return self.pad_distance is not None and (self.spacing_mm is not None or self.pre_crop)

    @property
    def filters_whole_image(self) -> bool:
        """Whether regions are those of a resampling of the whole image, for the sake of its filters.

        With the original image alone they are those of PyRadiomics' default crop. The two differ only in planes that lie
        half way between two of the scan's, where rounding decides.
        """
        return not self.crops_first and self.filters != ("original",)

    @property
    def sitk_interpolator(self) -> int:
        """The interpolator as SimpleITK's number."""
        import SimpleITK as sitk

        return int(getattr(sitk, self.interpolator))


def check_extractor(extractor: object, settings: RadiomicsSettings) -> None:
    """Ask an extractor whether it can honour settings, before any work; one without a method ``check`` honours all.

    Raises
    ------
    DatasetError
        As the extractor says.
    """
    check = getattr(extractor, "check", None)
    if check is not None:
        check(settings)
