use std::path::PathBuf;
use std::process;

use super::*;

/// A folder of a test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn of(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("safeport-local-{}-{name}", process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn with(self, name: &str, content: &[u8]) -> Folder {
        fs::write(self.0.join(name), content).expect("a file");
        self
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("short");
    [&[number << 3 | 2, length][..], content].concat()
}

/// An ONNX file that says this of itself, around a graph of nothing.
fn onnx<'a>(says: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut bytes = vec![0x08, 8];
    bytes.extend(field(7, b"graph"));
    for (key, value) in says {
        let entry = [field(1, key.as_bytes()), field(2, value.as_bytes())].concat();
        bytes.extend(field(14, &entry));
    }
    bytes
}

fn full<'a>(kind: &'a str, keys: &'a [&'a str]) -> Vec<u8> {
    onnx(
        keys.iter()
            .map(|key| (*key, "1"))
            .chain([("model_type", kind)]),
    )
}

const ORT: &[u8] = b"\x28\0\0\0ORTM\0\0";

#[test]
fn each_recogniser_is_told_by_its_files_and_by_what_it_says() {
    let folder = Folder::of("moonshine")
        .with("encoder_model.ort", ORT)
        .with("decoder_model_merged.ort", ORT)
        .with("tokens.txt", b"x 0\n");
    let (found, tokens) = ears(&folder.0).expect("Moonshine");
    assert_eq!(
        found,
        Ears::Moonshine {
            encoder: folder.path("encoder_model.ort"),
            decoder: folder.path("decoder_model_merged.ort"),
        }
    );
    assert_eq!(tokens, folder.path("tokens.txt"));

    let model = onnx([]);
    let folder = Folder::of("old-moonshine")
        .with("preprocess.onnx", &model)
        .with("encode.int8.onnx", &model)
        .with("uncached_decode.int8.onnx", &model)
        .with("cached_decode.int8.onnx", &model)
        .with("tokens.txt", b"x 0\n");
    let (found, _) = ears(&folder.0).expect("Moonshine in parts");
    assert!(
        matches!(found, Ears::OldMoonshine { cached, .. } if cached == folder.path("cached_decode.int8.onnx"))
    );

    let folder = Folder::of("sense-voice")
        .with("model.onnx", b"not looked at")
        .with("model.int8.onnx", &full("sense_voice_ctc", SENSE_VOICE))
        .with("tokens.txt", b"x 0\n");
    let model = folder.path("model.int8.onnx");
    assert_eq!(
        ears(&folder.0).expect("SenseVoice").0,
        Ears::SenseVoice { model }
    );

    let folder = Folder::of("paraformer")
        .with("model.onnx", &full("paraformer", PARAFORMER))
        .with("tokens.txt", b"x 0\n");
    let model = folder.path("model.onnx");
    assert_eq!(
        ears(&folder.0).expect("Paraformer").0,
        Ears::Paraformer { model }
    );

    let whisper = [
        full("whisper-tiny", WHISPER),
        onnx([("all_language_codes", "en,zh")]),
    ]
    .concat();
    let folder = Folder::of("whisper")
        .with("tiny-encoder.onnx", &whisper)
        .with("tiny-encoder.int8.onnx", &whisper)
        .with("tiny-decoder.onnx", &onnx([]))
        .with("tiny-tokens.txt", b"x 0\n");
    assert_eq!(
        ears(&folder.0).expect("Whisper"),
        (
            Ears::Whisper {
                encoder: folder.path("tiny-encoder.int8.onnx"),
                decoder: folder.path("tiny-decoder.onnx"),
                languages: vec!["en".into(), "zh".into()],
            },
            folder.path("tiny-tokens.txt")
        )
    );
}

#[test]
fn what_would_end_the_process_is_refused_before() {
    let cases: [(&str, &[u8], &str); 4] = [
        (
            "pointer",
            b"version https://git-lfs.github.com/spec/v1\n",
            "is no ONNX model",
        ),
        (
            "short",
            &full("paraformer", PARAFORMER)[..20],
            "is no ONNX model",
        ),
        (
            "other",
            &full("zipformer2_ctc", &[]),
            "says that it is `zipformer2_ctc`",
        ),
        (
            "silent",
            &full("paraformer", &PARAFORMER[1..]),
            "does not say its `vocab_size`",
        ),
    ];
    for (name, model, problem) in cases {
        let folder = Folder::of(name)
            .with("model.onnx", model)
            .with("tokens.txt", b"x 0\n");
        let told = ears(&folder.0).expect_err(name);
        assert!(told.contains(problem), "{name}: {told}");
        assert!(told.contains(&folder.path("model.onnx")), "{name}: {told}");
    }
}

#[test]
fn a_folder_without_a_model_says_what_was_looked_for_and_where() {
    let folder = Folder::of("empty").with("readme.txt", b"hello");
    let told = ears(&folder.0).expect_err("nothing");
    for word in [
        &folder.path(""),
        "Moonshine",
        "SenseVoice",
        "Whisper",
        "docs/voice-local.md",
    ] {
        assert!(told.contains(word.trim_end_matches('/')), "{word}: {told}");
    }
    let told = ears(Path::new("/no/such/folder")).expect_err("nowhere");
    assert!(told.contains("/no/such/folder"), "{told}");
    let folder = folder
        .with("encoder_model.ort", ORT)
        .with("decoder_model_merged.ort", ORT);
    let told = ears(&folder.0).expect_err("no tokens");
    assert!(told.contains("tokens.txt"), "{told}");
}

#[test]
fn pipers_voices_want_phonemes_and_others_a_list_of_words() {
    let says = [
        ("sample_rate", "22050"),
        ("n_speakers", "1"),
        ("language", "English"),
    ];
    let folder = Folder::of("piper")
        .with(
            "en_US-joe.onnx",
            &onnx(
                says.into_iter()
                    .chain([("comment", "piper"), ("voice", "en-us")]),
            ),
        )
        .with("tokens.txt", b"_ 0\n");
    assert_eq!(
        voice(&folder.0).expect("Piper").speaks,
        Speaks::Phonemes("en-us".into())
    );
    let folder = Folder::of("vits")
        .with(
            "model.onnx",
            &onnx(says.into_iter().chain([("comment", "ljspeech")])),
        )
        .with("tokens.txt", b"_ 0\n");
    let told = voice(&folder.0).expect_err("no words");
    assert!(told.contains("lexicon.txt"), "{told}");
    let folder = folder.with("lexicon.txt", b"hello h e\n");
    assert_eq!(
        voice(&folder.0).expect("a list").speaks,
        Speaks::Lexicon(folder.path("lexicon.txt"))
    );
    let folder = folder.with("voices.bin", b"");
    let told = voice(&folder.0).expect_err("Kokoro");
    assert!(told.contains("Kokoro"), "{told}");
}
