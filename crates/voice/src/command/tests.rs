use std::fs;
use std::process;
use std::time::Instant;

use super::*;

/// What a shell script does as a synthesiser or recogniser.
fn settings(script: &str) -> CommandSettings {
    CommandSettings {
        name: "test".into(),
        program: ["sh", "-c", script, "sh", "{language}"]
            .map(str::to_owned)
            .into(),
        language: "en".into(),
        raw: None,
        timeout: Duration::from_secs(20),
        at_once: 2,
    }
}

/// What it says, all pieces in one.
async fn said(settings: CommandSettings, text: &str) -> Result<(u32, Vec<i16>), Failure> {
    let command = Command::new(settings)?;
    let (sender, mut receiver) = mpsc::channel(2);
    let mut all = (0, Vec::new());
    let collect = async {
        while let Some(Sound::Samples { rate, samples }) = receiver.recv().await {
            all.0 = rate;
            all.1.extend(samples);
        }
    };
    let (outcome, ()) = tokio::join!(command.speak(text, Some("zh"), sender), collect);
    outcome.map(|()| all)
}

async fn understood(script: &str, samples: Vec<i16>) -> Result<String, Failure> {
    let recognizer = CommandRecognizer::new(settings(script))?;
    let (sender, receiver) = mpsc::channel(4);
    for piece in samples.chunks(samples.len().div_ceil(3).max(1)) {
        sender.send(piece.to_vec()).await.expect("room");
    }
    drop(sender);
    let transcript = recognizer.recognize(Speech(receiver), None).await?;
    Ok(transcript.text)
}

#[tokio::test]
async fn bare_samples_are_what_the_program_wrote() {
    let mut settings = settings("printf %s \"$1\"; cat");
    settings.raw = Some(22_050);
    // `zh` is the language, `a b` the text, in one line.
    assert_eq!(
        said(settings, "a\n\u{7}b").await,
        Ok((
            22_050,
            vec![
                i16::from_le_bytes(*b"zh"),
                i16::from_le_bytes(*b"a "),
                i16::from_le_bytes(*b"b\n")
            ]
        ))
    );
}

#[tokio::test]
async fn a_wav_of_unknown_length_is_heard_before_the_program_ends() {
    let mut header = wav(16_000, &[7; 400]);
    header[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
    let file = std::env::temp_dir().join(format!("safeport-command-{}.wav", process::id()));
    fs::write(&file, header).expect("a file");
    let script = format!("cat '{}'; exec sleep 60", file.display());
    let command = Command::new(settings(&script)).expect("a program");
    let (sender, mut receiver) = mpsc::channel(2);
    let mut speaking = command.speak("hello", None, sender);
    let first = tokio::select! {
        outcome = &mut speaking => panic!("{outcome:?}"),
        first = receiver.recv() => first,
    };
    fs::remove_file(&file).expect("the file");
    assert_eq!(
        first,
        Some(Sound::Samples {
            rate: 16_000,
            samples: vec![7; 400]
        })
    );
}

#[tokio::test]
async fn a_program_that_fails_is_told_with_its_last_words() {
    let failure = said(
        settings("echo 'no voice of that name' >&2; exit 3"),
        "hello",
    )
    .await
    .expect_err("a failure");
    assert_eq!(
        (failure.stage, failure.kind),
        (Stage::Synthesizer, FailureKind::Failed)
    );
    assert_eq!(
        failure.detail.as_ref(),
        "it ended with exit status: 3; it said: no voice of that name"
    );
}

#[tokio::test]
async fn what_is_no_sound_is_refused() {
    let failure = said(settings("echo oops"), "hello")
        .await
        .expect_err("text");
    assert_eq!(failure.kind, FailureKind::Misunderstood);
    assert!(failure.detail.contains("oops"), "{failure}");
    let failure = said(settings("true"), "hello").await.expect_err("nothing");
    assert_eq!(failure.kind, FailureKind::Misunderstood);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_missing_at_once() {
    let mut settings = settings("");
    settings.program = vec!["safeport-no-such-program".into()];
    let failure = Command::new(settings).expect_err("nothing");
    assert_eq!(failure.kind, FailureKind::Missing);
    assert!(
        failure.detail.contains("safeport-no-such-program"),
        "{failure}"
    );
}

#[tokio::test]
async fn one_that_hangs_is_given_up() {
    let mut settings = settings("exec sleep 60");
    settings.timeout = Duration::from_millis(200);
    let failure = said(settings, "hello").await.expect_err("silence");
    assert_eq!(failure.kind, FailureKind::TimedOut);
}

#[tokio::test]
async fn one_that_never_stops_is_ended() {
    let mut settings = settings("cat /dev/zero");
    settings.raw = Some(16_000);
    let failure = said(settings, "hello").await.expect_err("too much");
    assert_eq!(failure.kind, FailureKind::Misunderstood);
    assert!(failure.detail.contains("16 MiB"), "{failure}");
}

#[tokio::test]
async fn who_is_dropped_takes_the_program_and_what_it_started_along() {
    let file = std::env::temp_dir().join(format!("safeport-command-{}.pid", process::id()));
    let script = format!("sleep 600 & echo $! > '{}'; wait", file.display());
    let command = Command::new(settings(&script)).expect("a program");
    let (sender, _receiver) = mpsc::channel(2);
    let started = async {
        loop {
            if let Ok(text) = fs::read_to_string(&file)
                && let Ok(pid) = text.trim().parse::<u32>()
            {
                return pid;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let pid = tokio::select! {
        outcome = command.speak("hello", None, sender) => panic!("{outcome:?}"),
        pid = started => pid,
    };
    fs::remove_file(&file).expect("the file");
    let began = Instant::now();
    while lives(pid) {
        assert!(began.elapsed() < Duration::from_secs(20), "{pid} lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// One that nobody has waited for is dead all the same.
fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('Z'))
    })
}

#[tokio::test]
async fn no_more_run_at_once_than_allowed_and_the_others_wait() {
    let mut settings = settings("");
    settings.raw = Some(8_000);
    settings.at_once = 1;
    let folder = std::env::temp_dir().join(format!("safeport-command-{}", process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    // mkdir fails if another one is inside.
    settings.program[2] = format!(
        "mkdir '{0}/inside' || exit 9; sleep 0.05; cat; rmdir '{0}/inside'",
        folder.display()
    );
    let command = Command::new(settings).expect("a program");
    let speak = || async {
        let (sender, mut receiver) = mpsc::channel(2);
        let (outcome, ()) = tokio::join!(command.speak("ab", None, sender), async {
            while receiver.recv().await.is_some() {}
        });
        outcome
    };
    assert_eq!(
        tokio::join!(speak(), speak(), speak()),
        (Ok(()), Ok(()), Ok(()))
    );
    fs::remove_dir_all(&folder).expect("the folder");
}

#[tokio::test]
async fn an_odd_language_never_becomes_an_option() {
    let command = Command::new(settings("cat")).expect("a program");
    for language in ["--help", "en us", "en;ls", "../x"] {
        let (sender, _receiver) = mpsc::channel(1);
        let outcome = command.speak("hello", Some(language), sender).await;
        assert_eq!(outcome.expect_err(language).kind, FailureKind::Refused);
    }
}

#[tokio::test]
async fn programs_see_no_keys_of_the_servers_environment() {
    // Cargo sets this one for every test.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let text = understood("cat > /dev/null; env", vec![1; 100])
        .await
        .expect("text");
    assert!(text.contains("PATH="), "{text}");
    assert!(!text.contains("CARGO_MANIFEST_DIR"), "{text}");
}

#[tokio::test]
async fn a_recogniser_gets_a_wav_and_its_text_is_one_line() {
    // 44 bytes of header and two for each sample.
    let text = understood("printf ' %s \\n bytes\\n' \"$(wc -c)\"", vec![1; 1000]).await;
    assert_eq!(text, Ok("2044 bytes".to_owned()));
}

#[tokio::test]
async fn nothing_said_is_nothing_recognised_and_starts_nothing() {
    assert_eq!(
        understood("echo never", Vec::new()).await,
        Ok(String::new())
    );
}

#[tokio::test]
async fn a_recogniser_that_reads_nothing_may_still_answer() {
    // More than a pipe holds.
    let text = understood("echo short", vec![1; 16_000 * 20]).await;
    assert_eq!(text, Ok("short".to_owned()));
}

#[tokio::test]
async fn a_recogniser_that_babbles_is_ended() {
    let failure = understood("cat /dev/zero", vec![1; 10])
        .await
        .expect_err("too much");
    assert_eq!(failure.kind, FailureKind::Misunderstood);
}
