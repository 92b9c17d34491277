//! Which model lies in a folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::onnx;

/// A recogniser, by the files it consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ears {
    /// Moonshine with a merged decoder.
    Moonshine { encoder: String, decoder: String },
    /// Moonshine in four parts, as it was at first.
    OldMoonshine {
        preprocessor: String,
        encoder: String,
        uncached: String,
        cached: String,
    },
    /// SenseVoice.
    SenseVoice { model: String },
    /// Paraformer that takes the speech whole.
    Paraformer { model: String },
    /// Whisper, with the languages it can be told; none if it knows English alone.
    Whisper {
        encoder: String,
        decoder: String,
        languages: Vec<String>,
    },
}

/// A voice, by the files it consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Voice {
    pub(super) model: String,
    pub(super) tokens: String,
    pub(super) speaks: Speaks,
}

/// How text becomes what a voice can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Speaks {
    /// A list of words is there.
    Lexicon(String),
    /// It wants the phonemes of espeak-ng, of this language.
    Phonemes(String),
}

/// Finds a recogniser, and the file of its tokens.
///
/// # Errors
/// In words: what was looked for and what to do.
pub(super) fn ears(folder: &Path) -> Result<(Ears, String), String> {
    let files = Files::of(folder)?;
    let one = |names: &[(&str, &str)]| files.one(names);
    let found = if let (Some(encoder), Some(decoder)) = (
        one(&[("encoder_model", "")]),
        one(&[("decoder_model_merged", "")]),
    ) {
        files.sound(&encoder)?;
        files.sound(&decoder)?;
        Ears::Moonshine {
            encoder: files.path(&encoder),
            decoder: files.path(&decoder),
        }
    } else if let (Some(preprocessor), Some(encoder), Some(uncached), Some(cached)) = (
        one(&[("preprocess", "")]),
        one(&[("encode", "")]),
        one(&[("uncached_decode", "")]),
        one(&[("cached_decode", "")]),
    ) {
        for part in [&preprocessor, &encoder, &uncached, &cached] {
            files.sound(part)?;
        }
        Ears::OldMoonshine {
            preprocessor: files.path(&preprocessor),
            encoder: files.path(&encoder),
            uncached: files.path(&uncached),
            cached: files.path(&cached),
        }
    } else if let (Some(encoder), Some(decoder)) =
        (one(&[("", "-encoder")]), one(&[("", "-decoder")]))
    {
        let says = files.says(&encoder)?;
        if !says
            .get("model_type")
            .is_some_and(|kind| kind.starts_with("whisper"))
        {
            return Err(files.unknown(&encoder, &says));
        }
        files.needs(&encoder, &says, WHISPER)?;
        files.says(&decoder)?;
        let languages = says.get("all_language_codes").map_or("", String::as_str);
        Ears::Whisper {
            encoder: files.path(&encoder),
            decoder: files.path(&decoder),
            languages: languages.split(',').map(str::to_owned).collect(),
        }
    } else if let Some(model) = one(&[("model", "")]) {
        let says = files.says(&model)?;
        match says.get("model_type").map(String::as_str) {
            Some("sense_voice_ctc") => {
                files.needs(&model, &says, SENSE_VOICE)?;
                Ears::SenseVoice {
                    model: files.path(&model),
                }
            }
            Some("paraformer") => {
                files.needs(&model, &says, PARAFORMER)?;
                Ears::Paraformer {
                    model: files.path(&model),
                }
            }
            _ => return Err(files.unknown(&model, &says)),
        }
    } else {
        return Err(format!(
            "there is no recogniser in {}: neither Moonshine (encoder_model.ort and decoder_model_merged.ort) nor \
             SenseVoice or Paraformer (model.onnx or model.int8.onnx) nor Whisper (…-encoder.onnx and …-decoder.onnx). \
             Unpack one of the models of sherpa-onnx there (docs/voice-local.md)",
            folder.display()
        ));
    };
    Ok((found, files.tokens()?))
}

/// Finds a voice.
///
/// # Errors
/// In words: what was looked for and what to do.
pub(super) fn voice(folder: &Path) -> Result<Voice, String> {
    let files = Files::of(folder)?;
    let Some(model) = files.one(&[("", "")]) else {
        return Err(format!(
            "there is no voice in {}: an .onnx file is looked for. Unpack one of the Piper or VITS voices of \
             sherpa-onnx there (docs/voice-local.md)",
            folder.display()
        ));
    };
    let says = files.says(&model)?;
    if files.names.iter().any(|name| name == "voices.bin") {
        return Err(format!(
            "{} looks like Kokoro or Kitten, which is not run inside of this server; let a program speak instead \
             (docs/voice-local.md)",
            folder.display()
        ));
    }
    files.needs(&model, &says, VITS)?;
    let comment = says.get("comment").map_or("", String::as_str);
    let lexicon = files.names.iter().find(|name| *name == "lexicon.txt");
    let language = says
        .get("voice")
        .filter(|voice| !voice.is_empty())
        .or_else(|| says.get("language"));
    let speaks = match (lexicon, comment.contains("piper"), language) {
        // espeak-ng knows every word, a list does not.
        (_, true, Some(language)) => Speaks::Phonemes(language.clone()),
        (Some(lexicon), ..) => Speaks::Lexicon(files.path(lexicon)),
        _ => {
            return Err(format!(
                "the voice in {} is no Piper voice and has no lexicon.txt, so nothing says how its words sound",
                folder.display()
            ));
        }
    };
    Ok(Voice {
        model: files.path(&model),
        tokens: files.tokens()?,
        speaks,
    })
}

/// The names in a folder.
struct Files<'a> {
    folder: &'a Path,
    names: Vec<String>,
}

impl<'a> Files<'a> {
    fn of(folder: &'a Path) -> Result<Files<'a>, String> {
        let entries = fs::read_dir(folder).map_err(|error| {
            format!(
                "the folder {} cannot be read: {error}. Unpack a model there, or correct the path",
                folder.display()
            )
        })?;
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .take(NAMES)
            .collect();
        names.sort();
        Ok(Files { folder, names })
    }

    /// The model whose name begins and ends so, before what says how it is stored. Smaller numbers are faster and
    /// recognise as well: `.int8` comes first.
    fn one(&self, shapes: &[(&str, &str)]) -> Option<String> {
        let fits = |name: &str, kind: &str| {
            let Some(stem) = name.strip_suffix(kind) else {
                return false;
            };
            shapes.iter().any(|(begin, end)| {
                let stem = stem.strip_suffix(".int8").unwrap_or(stem);
                match (*begin, *end) {
                    ("", end) => stem.ends_with(end),
                    (begin, _) => stem == begin,
                }
            })
        };
        [".int8.onnx", ".onnx", ".ort"].iter().find_map(|kind| {
            let mut names = self.names.iter();
            names.find(|name| fits(name, kind)).cloned()
        })
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    fn tokens(&self) -> Result<String, String> {
        let named = |name: &&String| *name == "tokens.txt" || name.ends_with("-tokens.txt");
        match self.names.iter().find(named) {
            Some(name) if self.length(name) > 0 => Ok(self.path(name)),
            _ => Err(format!(
                "there is a model in {}, but no tokens.txt beside it; take the model as sherpa-onnx publishes it",
                self.folder.display()
            )),
        }
    }

    /// What a model says of itself.
    fn says(&self, name: &str) -> Result<BTreeMap<String, String>, String> {
        let path: PathBuf = self.folder.join(name);
        onnx::metadata(&path)
            .map_err(|problem| format!("{} {problem}; download it again", path.display()))
    }

    /// Whether a file is a model at all, by how it begins.
    fn sound(&self, name: &str) -> Result<(), String> {
        if !name.ends_with(".ort") {
            return self.says(name).map(|_| ());
        }
        let mut begin = [0; 8];
        let path = self.folder.join(name);
        let read = fs::File::open(&path).and_then(|mut file| file.read_exact(&mut begin));
        match read {
            Ok(()) if &begin[4..] == b"ORTM" => Ok(()),
            _ => Err(format!(
                "{} is no model of ONNX Runtime; download it again",
                path.display()
            )),
        }
    }

    fn needs(
        &self,
        name: &str,
        says: &BTreeMap<String, String>,
        keys: &[&str],
    ) -> Result<(), String> {
        let lacks = |key: &&&str| says.get(**key).is_none_or(String::is_empty);
        match keys.iter().find(lacks) {
            None => Ok(()),
            Some(missing) => Err(format!(
                "{} does not say its `{missing}`; take the model as sherpa-onnx publishes it",
                self.folder.join(name).display()
            )),
        }
    }

    fn unknown(&self, name: &str, says: &BTreeMap<String, String>) -> String {
        let kind = says.get("model_type").map_or("nothing", String::as_str);
        format!(
            "{} says that it is `{kind}`; Moonshine, SenseVoice, Paraformer and Whisper can be run",
            self.folder.join(name).display()
        )
    }

    fn length(&self, name: &str) -> u64 {
        fs::metadata(self.folder.join(name)).map_or(0, |data| data.len())
    }
}

/// What sherpa-onnx 2.0 reads of each kind, and ends the process without.
const SENSE_VOICE: &[&str] = &[
    "vocab_size",
    "lfr_window_size",
    "lfr_window_shift",
    "normalize_samples",
    "with_itn",
    "without_itn",
    "lang_auto",
    "lang_zh",
    "lang_en",
    "lang_ja",
    "lang_ko",
    "lang_yue",
    "neg_mean",
    "inv_stddev",
];
const PARAFORMER: &[&str] = &[
    "vocab_size",
    "lfr_window_size",
    "lfr_window_shift",
    "neg_mean",
    "inv_stddev",
];
const WHISPER: &[&str] = &[
    "n_mels",
    "n_text_layer",
    "n_text_ctx",
    "n_text_state",
    "n_vocab",
    "sot",
    "eot",
    "blank_id",
    "translate",
    "transcribe",
    "is_multilingual",
    "no_timestamps",
    "no_speech",
    "sot_sequence",
];
const VITS: &[&str] = &["sample_rate", "n_speakers", "language", "comment"];

/// Names that are looked at in a folder; one of a model has a dozen.
const NAMES: usize = 1000;

#[cfg(test)]
mod tests;
