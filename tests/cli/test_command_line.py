"""The command line itself: help, mistakes, exit codes, signals, pipes; as a process and in one."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import fail, run, succeed
from shapes import CLASSES

import vitlib
from vitlib.analysis.pictures import METHODS
from vitlib.cli.command_line import COMMANDS, parser_of_one
from vitlib.cli.errors import in_words_of_the_command_line
from vitlib.deploy.engines import ENGINES
from vitlib.deploy.exported import ENDINGS
from vitlib.weights.export import FORMATS

ROOT = Path(vitlib.__file__).parents[1]
CLOTHES = Path(__file__).parents[2] / "examples" / "clothes"
NAMES = [command.name for command in COMMANDS]


def start(*arguments, **options):
    """`python -m vitlib` in a process of its own, with the package of this checkout."""
    return subprocess.Popen(
        list(map(str, [sys.executable, "-m", "vitlib", *arguments])),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
        **{"stdout": subprocess.PIPE, **options},
    )


def options_of(name):
    parser = parser_of_one(name, f"vitlib {name}", None)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    return {action.option_strings[-1]: action for action in parser._actions if action.option_strings}


def test_help_names_every_command_and_the_exit_codes():
    written = succeed("--help").out
    for command in COMMANDS:
        assert f"  {command.name:<10} {command.summary}\n" in written
    assert "Exit codes: 0 done" in written


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command_has_examples_of_it_and_the_default_of_each_option(name):
    written = succeed(name, "--help").out
    assert written.startswith(f"usage: vitlib {name} ")
    assert f"\nexamples:\n  vitlib {name}" in written
    assert max(map(len, written.splitlines())) <= 100
    actions = options_of(name)
    pattern = r"^  (?:-h, )?(--[\w-]+)(?:, --[\w-]+)?( \S.*?)?(?: {2,}|\n {3,})(\S.*(?:\n {3,}.*)*)"
    described = re.findall(pattern, written, re.MULTILINE)
    assert len(described) == len(actions)
    for option, value, text in described:
        required = next(action.required for action in actions.values() if option in action.option_strings)
        assert ("(default: " in " ".join(text.split())) == (value != "" and not required), option


@pytest.mark.parametrize("name", [name for name in NAMES if name != "bench"])
def test_examples_of_a_command_are_commands_that_it_understands(name):
    parser = parser_of_one(name, f"vitlib {name}", None)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    examples = parser.epilog.replace("\\\n", "").splitlines()[1:]
    assert len(examples) >= 2
    for line in examples:
        words = re.split(r"\s{2,}|\|", line.strip().partition(f"vitlib {name}")[2].strip().replace("\\", ""))[0]
        if name in ("train", "finetune"):
            words = line.partition(f"vitlib {name}")[2]
        parser.parse_args(words.replace("'", "").split())


def test_choices_are_those_of_the_python_api():
    assert set(options_of("predict")["--engine"].choices) == {"auto", *ENGINES}
    precisions = {precision for row in ENGINES.values() for precision in row.precisions}
    assert set(options_of("predict")["--precision"].choices) == {"auto", *precisions}
    assert set(options_of("convert")["--format"].choices) == {"vitlib", *FORMATS}
    assert set(options_of("export")["--format"].choices) == set(ENDINGS)
    assert set(METHODS) < set(options_of("attention")["--method"].choices)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predcit"], ["vitlib: there is no command 'predcit'; did you mean 'predict'?"]),
        (["predict", "a.jpg", "--modle", "x"], ["vitlib predict: unknown option --modle; did you mean --model?"]),
        (["predict", "a.jpg", "--top", "0"], ["--top: expected a whole number of at least 1, found '0'"]),
        (["predict", "a.jpg", "--engine", "tensorrt"], ["--engine: invalid choice: 'tensorrt'", "onnxruntime"]),
        (["predict"], ["required: IMAGE", "(see vitlib predict --help)"]),
        (["convert", "a"], ["required: OUT"]),
        (["info", "a", "b"], ["unknown argument b"]),
        ([], ["required: COMMAND"]),
        (["bench", "vit_tinny_patch16_224"], ["vit_tiny_patch16_224"]),
        (["bench", "vit_tiny_patch16_224", "--engines", "tensorrt"], ["tensorrt", "onnxruntime"]),
    ],
)
def test_a_mistake_is_one_line(arguments, words):
    fail(1 if "--engines" in arguments else 2, *arguments, words=words)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("allow='head' permits: a new head", "--allow head permits: a new head"),
        ('Say which one, for instance part="teacher".', "Say which one, for instance --part teacher."),
        ("Give img_size=(height, width), or source_grid=(rows, columns)", "Give --size HEIGHT WIDTH, or --source-grid"),
        ("Give num_heads=", "Give --set num_heads="),
        ("engine='paddle' has no int8", "--engine paddle has no int8"),
        ("Google's .npz cannot express reg_tokens=4", "Google's .npz cannot express reg_tokens=4"),
        ("for a preset use --set img_size=64 in_chans=1", "for a preset use --set img_size=64 in_chans=1"),
        ("[Errno 2] No such image file: 'a.jpg'", "'a.jpg': No such image file"),
        ("runs/top_k=3,part=1/w.pth is empty", "runs/top_k=3,part=1/w.pth is empty"),
    ],
)
def test_words_of_the_python_api_become_those_of_the_command_line(message, words):
    parser = parser_of_one("predict", "vitlib predict", None)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    assert in_words_of_the_command_line(message, parser).startswith(words)


def test_warnings_are_lines_in_the_words_of_the_command_line(model, tmp_path):
    done = run("convert", model, tmp_path / "w.npz", "--set", "norm_eps=1e-5")
    assert done.code == 0
    assert done.err.startswith("vitlib convert: ")
    assert "Warning" not in done.err


def test_help_and_mistakes_come_without_paddle_and_a_list_as_soon_as_it_is_there():
    code = "import sys, vitlib.cli; sys.exit(vitlib.cli.main(sys.argv[1:]) + 10 * ('paddle' in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for arguments, expected in (
        (["--help"], 0),
        (["predict", "--help"], 0),
        (["predict", "--bogus"], 2),
        (["list"], 10),
    ):
        done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True)
        assert done.returncode == expected, (arguments, done.stderr)
    # processor time, the best of several, beside that of `import paddle`
    timed = "import time; t = time.process_time(); {}; print(time.process_time() - t)"
    listed = timed.format(
        "import io, sys, vitlib.cli as c; o = sys.stdout; sys.stdout = io.StringIO(); c.main(['list'])"
    )
    listed = listed.replace("; print(", "; sys.stdout = o; print(")
    ways = [[sys.executable, "-W", "ignore", "-c", code] for code in (timed.format("import paddle"), listed)]
    seconds = [
        min(float(subprocess.run(way, env=environment, capture_output=True, text=True).stdout) for _ in range(2))
        for way in ways
    ]
    assert seconds[1] - seconds[0] < 0.5


def test_a_closed_pipe_is_no_error():
    with start("list") as process:
        assert process.stdout.readline() == f"{vitlib.list_models()[0]}\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_one_line_and_exit_code_1():
    with open("/dev/full", "w") as full, start("--version", stdout=full) as process:
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, "vitlib: standard output cannot be written: No space left on device\n")


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_a_closed_output_is_no_error():
    command = f"'{sys.executable}' -m vitlib --version >&-"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", command], env=environment, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_with_a_line(number):
    with start("predict", "-", "--model", CLOTHES, stdin=subprocess.PIPE) as process:
        time.sleep(3)  # it waits for paths, or is still importing
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert re.fullmatch(r"vitlib( predict)?: stopped( while it was starting)?\n", said), said


def test_the_process_gives_the_exit_code_and_nothing_but_the_answer(data):
    image = data / "validation" / CLASSES[0] / "000.png"
    options = ["--model", CLOTHES, "--engine", "paddle", "--top", "1"]
    with start("predict", image, data / "nowhere.png", *options) as process:
        out, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert out.splitlines()[0] == str(image)
    assert len(out.splitlines()) == 2
    assert err.splitlines() == [f"vitlib predict: '{data / 'nowhere.png'}': No such image file"]
