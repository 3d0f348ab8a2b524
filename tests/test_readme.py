"""README and the guides: their code runs, their tables are the code's, their links lead somewhere."""

import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from PIL import Image

import vitlib
from vitlib.models.preset_table import PRESETS
from vitlib.weights.dialects import CODEBASES, NAMES, codebase_table

ROOT = pathlib.Path(__file__).parents[1]
GUIDES = ROOT / "examples" / "guides"
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (GUIDES / "zh" / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "examples").rglob("*.md"))]
FAMILIES = sorted((GUIDES / "families").glob("*.md"))

sys.path.insert(0, str(GUIDES))
import make_pages  # noqa: E402


def blocks(text, language="python"):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run_here(program, folder, monkeypatch):
    """The program with folder as its working directory; the processor stays as it is."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(vitlib, "tune_cpu", lambda **_: "the processor is left as it is")
    exec(compile(program, "guide", "exec"), {"__name__": "guide"})


def test_readme_runs_as_it_stands(tmp_path):
    assert len(blocks(README)) >= 5
    program = "\n".join(blocks(README)) + "\nprint('the end')\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.endswith("the end\n")
    assert "86,567,656 parameters, 17.564 GMACs" in done.stdout
    assert (tmp_path / "exported" / "paddle" / "vitlib.json").exists()


@pytest.mark.parametrize("name", ["models", "weights", "look_inside", "training", "deployment", "faq"])
def test_a_guide_runs_as_it_stands(name, tmp_path, monkeypatch):
    code = blocks((GUIDES / f"{name}.md").read_text(encoding="utf-8"))
    assert code
    run_here("\n".join(code), tmp_path, monkeypatch)


@pytest.mark.parametrize("page", FAMILIES, ids=lambda page: page.stem)
def test_the_code_of_a_family_runs_with_random_weights_and_one_block(page, tmp_path, monkeypatch):
    for name in ("photo.jpg", "other.jpg", "imagenet/validation/n01440764/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), "teal").save(tmp_path / name)
    text = page.read_text(encoding="utf-8")
    program = "\n".join(blocks(text))
    assert "pretrained=True" in program
    run_here(program.replace("pretrained=True", "depth=1"), tmp_path, monkeypatch)


def test_every_new_call_of_the_migration_guide_runs(tmp_path, monkeypatch):
    text = (GUIDES / "migration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`|]+)` \| `([^`|]+)` \|$", text, re.MULTILINE)
    assert len(rows) == len(re.findall(r"^\| `", text, re.MULTILINE))
    calls = [new for _, new in rows if not new.startswith("vitlib ")]
    assert len(calls) >= 30
    create_model = vitlib.create_model

    def with_random_weights(name, pretrained=False, **options):
        if pretrained is True:  # downloads are for other tests
            pretrained, options = False, {"depth": 1, **options} if "base" in name else options
        return create_model(name, pretrained, **options)

    monkeypatch.setattr(vitlib, "create_model", with_random_weights)
    run_here("\n".join([*blocks(text), *calls]), tmp_path, monkeypatch)


def test_the_generated_parts_of_the_pages_are_what_the_script_writes():
    for (path, name), part in make_pages.generated().items():
        text = path.read_text(encoding="utf-8")
        assert make_pages.with_part(text, name, part) == text, f"{path.name}: run make_pages.py"


def test_every_preset_and_every_published_weight_has_a_place_on_one_page():
    listed = [
        f"{name}.{tag}"
        for family in make_pages.FAMILIES
        for name, tags in make_pages.presets_of(family).items()
        for tag in tags or [""]
    ]
    expected = [
        f"{name}.{tag}" for name, preset in PRESETS.items() for tag in [row.tag for row in preset.weights] or [""]
    ]
    assert sorted(listed) == sorted(expected)
    assert {page.stem for page in FAMILIES} == {family.page for family in make_pages.FAMILIES}


def test_every_place_that_weights_are_fetched_from_is_named():
    for name in vitlib.list_models(tags=True, pretrained=True):
        for location in vitlib.models.presets.published(name).locations:
            assert any(location.startswith(start) for start in make_pages.HOSTS), location


def test_the_table_of_what_loads_from_where_is_the_code_s():
    assert codebase_table() in (GUIDES / "weights.md").read_text(encoding="utf-8")
    assert set(CODEBASES) == set(NAMES)


def test_the_set_up_takes_two_commands():
    commands = re.findall(r"^python3 -m venv .* && .*$", README, re.MULTILINE)
    assert len(commands) == 2
    assert "examples/quickstart.py" in commands[0]
    assert "pytest" in commands[1]


def test_readme_fits_on_two_hundred_lines():
    assert len(README.splitlines()) <= 200


def without_comments(code):
    return [re.sub(r" *#.*", "", block) for block in code]


def test_the_chinese_readme_has_the_same_code_and_the_same_sections():
    for language in ("python", "bash"):
        assert without_comments(blocks(CHINESE, language)) == without_comments(blocks(README, language))
    levels = [re.findall(r"^#+", line) for line in README.splitlines() if line.startswith("#")]
    assert [re.findall(r"^#+", line) for line in CHINESE.splitlines() if line.startswith("#")] == levels


def anchors(text):
    """GitHub's names of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    # the prose of the notebooks is read in the folder above
    folder = page.parents[1] if page.parent.name == "tutorial" else page.parent
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (folder / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text(encoding="utf-8")), target


def test_the_vitlib_commands_of_the_pages_are_understood():
    command_line = pytest.importorskip("vitlib.cli.command_line")
    parser = command_line.parser_of_all()
    lines = [
        line.partition("vitlib ")[2]
        for page in PAGES
        for block in blocks(page.read_text(encoding="utf-8"), "bash")
        for line in block.replace("\\\n", "").splitlines()
        if line.startswith("vitlib ") or "| vitlib " in line
    ]
    assert len(lines) > 30
    for line in lines:
        parser.parse_args(shlex.split(line))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_scripts_that_exist(page):
    for script in re.findall(r"(?:examples|tests)/[\w/]+\.(?:py|sh)", page.read_text(encoding="utf-8")):
        assert (ROOT / script).exists(), script
