import re
from pathlib import Path

import pytest

from flows.cohort import check_config
from flows.config import load_config
from flows.external import read_outside
from flows.plan import recipe_of
from lungpipe.errors import DatasetError, PluginError

MINIMAL = '[cohort]\ndicom = "images"\nannotations = "n.csv"\n'


def recipe(tmp_path, text: str):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_recipe(tmp_path):
    """Paths in a recipe start at the recipe, those of --set at the current folder."""
    path = recipe(tmp_path, MINIMAL)
    assert load_config(path).cohort.dicom == str(tmp_path / "images")
    assert load_config(path, ["cohort.dicom=/data/ct"]).cohort.dicom == "/data/ct"


def test_weights_of_segmenters_are_relative_to_the_recipe(tmp_path):
    """One file or a list of them; an absolute path stays."""
    text = MINIMAL + '[segment]\nmethods = ["network"]\n[segment.parameters.network]\nweights = "a.safetensors"\n'
    config = load_config(recipe(tmp_path, text + 'ensemble = ["b.safetensors", "/data/c.safetensors"]\n'))
    given = config.segment.parameters["network"]
    assert given["weights"] == str(tmp_path / "a.safetensors")
    assert list(given["ensemble"]) == [str(tmp_path / "b.safetensors"), "/data/c.safetensors"]


def test_words_in_place_of_weights_are_no_paths(tmp_path):
    """`random` and the names of published weights stay, unless a file of the name lies beside the recipe."""
    text = MINIMAL + '[features]\nembedders = ["resnet10"]\n[features.embedder_parameters.resnet10]\nweights = "WORD"\n'
    for word in ("random", "merlin"):
        config = load_config(recipe(tmp_path, text.replace("WORD", word)))
        assert config.features.embedder_parameters["resnet10"]["weights"] == word
    (tmp_path / "mine").write_bytes(b"")
    config = load_config(recipe(tmp_path, text.replace("WORD", "mine")))
    assert config.features.embedder_parameters["resnet10"]["weights"] == str(tmp_path / "mine")


def test_overrides_are_typed(tmp_path):
    """--set takes TOML values, and a bare word as text."""
    overrides = ["regions.radii_mm=[0, 3.5]", "run.workers=1", "regions.clip=none", "benchmark.seed=3"]
    config = load_config(recipe(tmp_path, MINIMAL), overrides)
    assert config.regions.radii_mm == (0.0, 3.5)
    assert config.run.workers == 1
    assert config.regions.clip == "none"
    assert config.benchmark.seed == 3


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (MINIMAL + "[regions]\nradius_mm = [2]\n", r"unknown key 'regions.radius_mm'; did you mean 'radii_mm'"),
        (MINIMAL + "[region]\nradii_mm = [2]\n", r"unknown key 'region'; did you mean 'regions'"),
        (MINIMAL + "[segment.steps]\nhole = true\n", r"unknown key 'segment.steps.hole'; did you mean 'holes'"),
        (
            MINIMAL + "[segment.quality]\nmin_voxel = 3\n",
            r"unknown key 'segment.quality.min_voxel'; did you mean 'min_voxels'",
        ),
        (MINIMAL + '[segment.quality.verdicts]\nleaks = "drop"\n', "segment.quality.verdicts.leaks"),
        (MINIMAL + "[run]\nzzz = 1\n", r"unknown key 'run.zzz'; known here: workers"),
        (MINIMAL + "[regions]\nradii_mm = [-2]\n", "radii_mm"),
        (MINIMAL + "[benchmark]\nouter_folds = 1\n", "outer_folds"),
        ("[cohort]\n", "cohort.dicom is missing"),
        ("cohort = [", "is not TOML"),
    ],
)
def test_wrong_recipes_are_refused_with_advice(tmp_path, text, match):
    """A misspelt key is answered with the nearest known one, a wrong value with what was found."""
    with pytest.raises(DatasetError, match=match):
        load_config(recipe(tmp_path, text))


def test_missing_recipe_and_malformed_override(tmp_path):
    """A recipe that is not there and a --set without section are told."""
    with pytest.raises(DatasetError, match="no recipe at"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(DatasetError, match=r"expected SECTION\.KEY=VALUE"):
        load_config(recipe(tmp_path, MINIMAL), ["workers=2"])


@pytest.mark.parametrize(
    ("override", "error", "match"),
    [
        ("segment.methods=['otzu']", PluginError, "installed: .*otsu"),
        ("features.extractor=nestd", PluginError, "no extractor named 'nestd'"),
        ("benchmark.classifiers=['svmm']", PluginError, "knn"),
        ("cohort.dataset=generik", DatasetError, "generic"),
        ("features.filters=['wavelets']", DatasetError, "did you mean 'wavelet'"),
        ("features.filter_parameters={wavelet={level=2}}", DatasetError, "not among features.filters"),
        ("features.filter_parameters={original={bin_widht=2}}", DatasetError, "did you mean 'bin_width'"),
        (
            "features.filter_parameters={original={bin_width='2'}}",
            DatasetError,
            "expected a value like 25.0, found '2'",
        ),
        ("features.parameter_file=none.yaml", DatasetError, "no parameter file at"),
        ("cohort.annotations=/nowhere.csv", DatasetError, "no annotations at"),
    ],
)
def test_everything_a_recipe_names_is_looked_up_first(tmp_path, override, error, match):
    """Unknown plug-ins, data sets and files stop before anything is started."""
    (tmp_path / "images").mkdir()
    (tmp_path / "n.csv").write_text("")
    with pytest.raises(error, match=match):
        check_config(load_config(recipe(tmp_path, MINIMAL), [override]))


def test_a_fixed_origin_of_bins_is_of_the_nested_engine(tmp_path):
    """PyRadiomics has no fixed origin of bins, and says so before any work."""
    (tmp_path / "images").mkdir()
    (tmp_path / "n.csv").write_text("")
    words = ["features.bin_origin_hu=-1000", "features.extractor=pyradiomics"]
    with pytest.raises(DatasetError, match="'nested' offers a fixed origin"):
        check_config(load_config(recipe(tmp_path, MINIMAL), words))
    check_config(load_config(recipe(tmp_path, MINIMAL), words[:1]))


def test_filters_and_their_parameters(tmp_path):
    """A recipe says which images are made and how; tables of one image type change nothing of the others."""
    (tmp_path / "images").mkdir()
    (tmp_path / "n.csv").write_text("")
    tables = "{LoG={sigma_mm=[2, 4], bin_width=5}, wavelet={wavelet='db2'}, original={weighting='manhattan'}}"
    changes = ["features.filters=['original', 'LoG', 'wavelet']", f"features.filter_parameters={tables}"]
    _, settings = check_config(load_config(recipe(tmp_path, MINIMAL), [*changes, "features.bin_width_hu=20"]))
    radiomics = settings.radiomics
    assert radiomics.filters == ("original", "log", "wavelet")
    assert radiomics.parameters.sigma_mm == (2.0, 4.0)
    assert radiomics.parameters.wavelet == "db2"
    assert radiomics.texture_of("log-sigma-2-0-mm-3D").bin_width == 5
    assert radiomics.texture_of("wavelet-LLH").bin_width == 20
    assert radiomics.texture_of("original").weighting == "manhattan"
    assert radiomics.texture_of("original").bin_width == 20


def test_parameter_file_stands_for_all_of_the_features(tmp_path):
    """A recipe may name a PyRadiomics parameter file beside it, and then says nothing else of features."""
    (tmp_path / "images").mkdir()
    (tmp_path / "n.csv").write_text("")
    (tmp_path / "parameters.yaml").write_text("imageType: {Wavelet: {}}\nsetting: {binWidth: 7}")
    path = recipe(tmp_path, MINIMAL + '[features]\nparameter_file = "parameters.yaml"\n')
    _, settings = check_config(load_config(path))
    assert settings.radiomics.filters == ("wavelet",)
    assert settings.radiomics.bin_width_hu == 7
    with pytest.raises(DatasetError, match="leave one of them out"):
        check_config(load_config(path, ["features.bin_width_hu=5"]))


def test_pins_preset_sets_the_whole_method(tmp_path):
    """preset = "pins" means its segmenters, cuboids, no clipping and whole-number HU."""
    (tmp_path / "images").mkdir()
    (tmp_path / "n.csv").write_text("")
    _, settings = check_config(load_config(recipe(tmp_path, MINIMAL), ["segment.preset=pins"]))
    assert {s.name for s in settings.segmenters.values()} == {"pins-otsu", "pins-kmeans", "pins-gmm", "pins-fcm"}
    assert {spec.metric for spec in settings.specs} == {"cuboid"}
    assert settings.clip == "none"
    assert not settings.exclude_neighbours
    assert settings.radiomics.interpolation == "int16"


def test_shipped_recipes_are_valid():
    """Every recipe in the repository loads."""
    from pathlib import Path

    paths = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
    assert paths
    for path in paths:
        load_config(path)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("benchmark.clinical=['patient_id']", "looks like an identifier"),
        ("benchmark.feature_sets=['shapes']", "no set 'shapes'"),
        ("benchmark.stability='none.parquet'", r"benchmark\.stability: none\.parquet cannot be read"),
        ("benchmark.external={b='nowhere'}", r"benchmark\.external\.b names .* no finished workspace"),
    ],
)
def test_what_a_benchmark_names_is_looked_up_before_any_work(tmp_path, override, told):
    """Columns, sets, copies and workspaces that are not there are told when the recipe is read."""
    config = load_config(recipe(tmp_path, MINIMAL), [override])
    with pytest.raises(DatasetError, match=told):
        read_outside(config, *(check(config)))


def check(config):
    spec, settings = check_config(
        config.model_copy(update={"cohort": config.cohort.model_copy(update={"dicom": ".", "annotations": None})})
    )
    return spec, settings.names()


def cluster(tmp_path, text, *overrides):
    """The run section of a recipe with more lines in it."""
    recipe = tmp_path / "clusters.toml"
    recipe.write_text(f'[cohort]\ndicom = "images"\n[run]\n{text}\n')
    return load_config(recipe, list(overrides)).run


def test_a_cluster_is_named_with_its_options(tmp_path):
    """A cluster's class, options and limits reach the tasks; a manifest's path is relative to the recipe."""
    text = '[run.cluster]\ncluster_class = "kubernetes"\nminimum = 2\nmaximum = 9\noptions = {custom_cluster_spec = "a.yaml"}'
    named = cluster(tmp_path, text).named()
    assert (named.name, named.minimum, named.maximum) == ("kubernetes", 2, 9)
    assert named.options == {"custom_cluster_spec": str(tmp_path / "a.yaml")}
    assert cluster(tmp_path, "workers = 3").named() is None


def test_options_of_a_cluster_are_not_recorded(tmp_path):
    """What names machines and accounts stays out of a run's record; the class is in it."""
    path = recipe(tmp_path, f'{MINIMAL}[run.cluster]\ncluster_class = "slurm"\noptions = {{account = "mueller"}}\n')
    recorded = recipe_of(load_config(path))["run"]["cluster"]
    assert recorded["cluster_class"] == "slurm"
    assert "mueller" not in str(recorded)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[run.cluster]\ncluster_class = "slurm"\nminimum = 3\nmaximum = 2', "maximum = 2 is below minimum = 3"),
        ('[run.cluster]\ncluster_class = "slurm"\nminimum = 3', "minimum without maximum"),
        ('dask = "tcp://a:1"\n[run.cluster]\ncluster_class = "slurm"', "a run has one cluster"),
        ('[run.cluster]\ncluster_clas = "slurm"', "did you mean 'cluster_class'?"),
    ],
)
def test_wrong_clusters_are_refused(tmp_path, text, words):
    """A section that contradicts itself, or misspells a key, is told with what to do."""
    with pytest.raises(DatasetError, match=re.escape(words)):
        cluster(tmp_path, text)


@pytest.mark.parametrize("name", ["slurm.toml", "kubernetes.toml"])
def test_recipes_of_clusters_are_complete(name):
    """The recipes that come with lungpipe are read whole."""
    folder = Path(__file__).parents[2] / "recipes" / "clusters"
    assert load_config(folder / name).run.named().maximum == 50
