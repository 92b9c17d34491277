use std::sync::Mutex;

use safeport_voice::{
    ChatModel, Failure, FailureKind, Job, Named, Parrot, Phrases, Sound, Stage, Synthesizer,
};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::limits::{NOTICES, NOTICES_WAITING};
use crate::serve::voice::notices::NOTICE_PATH;

/// A voice that makes as many seconds of sound as it is told, in every sentence.
struct Voice {
    seconds: usize,
    /// What it makes: samples, or packets of 20 ms.
    packets: bool,
    fails: bool,
}

impl Synthesizer for Voice {
    fn speak<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
        sound: mpsc::Sender<Sound>,
    ) -> Job<'a, ()> {
        Box::pin(async move {
            for _ in 0..self.seconds * 50 {
                let piece = match self.packets {
                    // SILK, 20 ms, wide band.
                    true => Sound::Opus([[0x48].as_slice(), &[7; 40]].concat().into()),
                    false => Sound::Samples {
                        rate: 24_000,
                        samples: vec![0; 480],
                    },
                };
                if sound.send(piece).await.is_err() {
                    break;
                }
            }
            match self.fails {
                false => Ok(()),
                true => Err(Failure {
                    stage: Stage::Synthesizer,
                    provider: "mouth".into(),
                    kind: FailureKind::Broken,
                    detail: "no more breath".into(),
                }),
            }
        })
    }
}

fn agent(voice: Option<Voice>) -> Arc<Agent> {
    let model: Arc<dyn ChatModel> = Arc::new(Parrot::new(|| (12, 0)));
    let mut agent = Agent::new("kitchen", Named::new("parrot", model));
    agent.phrases = Phrases::default();
    agent.synthesizer = voice.map(|voice| {
        let voice: Arc<dyn Synthesizer> = Arc::new(voice);
        Named::new("mouth", voice)
    });
    Arc::new(agent)
}

fn one_second() -> Option<Voice> {
    Some(Voice {
        seconds: 1,
        packets: false,
        fails: false,
    })
}

/// A device that fetches what it is told of, or does not.
struct Boxed {
    agent: Result<Arc<Agent>, WhyShown>,
    notices: Arc<Notices>,
    fetches: bool,
    gone: bool,
    got: Mutex<Vec<Value>>,
    files: Mutex<Vec<Vec<u8>>>,
}

fn device(agent: Result<Arc<Agent>, WhyShown>) -> Boxed {
    Boxed {
        agent,
        notices: Arc::default(),
        fetches: true,
        gone: false,
        got: Mutex::default(),
        files: Mutex::default(),
    }
}

impl Boxed {
    fn kinds(&self) -> Vec<String> {
        let got = self.got.lock().expect("whole");
        let kinds = got
            .iter()
            .map(|value| value["type"].as_str().unwrap_or("").to_owned());
        kinds.collect()
    }
}

impl Post for Boxed {
    fn is_connected(&self, _: &str) -> bool {
        true
    }

    fn send(&self, _: &str, message: String) -> Result<(), Unsent> {
        if self.gone {
            return Err(Unsent);
        }
        let value: Value = serde_json::from_str(&message).expect("JSON");
        if let Some(url) = value["audio_url"].as_str().filter(|_| self.fetches) {
            let (_, name) = url.split_once(NOTICE_PATH).expect("a path of ours");
            let file = self.notices.file(name, true).expect("it lies ready");
            self.files.lock().expect("whole").push(file.to_vec());
        }
        self.got.lock().expect("whole").push(value);
        Ok(())
    }

    fn herald(&self, _: &str) -> Result<Herald, WhyShown> {
        Ok(Herald {
            agent: self.agent.clone()?,
            address: "http://192.168.1.2:8880".parse().expect("an address"),
            notices: self.notices.clone(),
        })
    }
}

/// Something that is to be said, and what becomes of it.
fn say(text: &str) -> (Say, oneshot::Receiver<Result<Said, NotSaid>>) {
    let (answer, answered) = oneshot::channel();
    (Say::new(text, answer), answered)
}

struct Crying {
    says: mpsc::Sender<Say>,
    task: JoinHandle<()>,
}

fn cries(device: &Arc<Boxed>) -> Crying {
    let (says, waiting) = mpsc::channel(NOTICES_WAITING);
    let crier = Crier {
        device: "lamp".to_owned(),
        post: device.clone(),
        patience: Duration::from_millis(50),
        pause: Duration::ZERO,
    };
    let task = tokio::spawn(crier.run(waiting));
    Crying { says, task }
}

impl Crying {
    async fn say(&self, text: &str) -> Result<Said, NotSaid> {
        let (say, answered) = say(text);
        self.says.send(say).await.expect("it still cries");
        let answered = tokio::time::timeout(Duration::from_secs(60), answered).await;
        answered.expect("in time").expect("an answer")
    }
}

#[tokio::test]
async fn a_device_fetches_what_it_is_told_of_and_that_counts_as_spoken() {
    let lamp = Arc::new(device(Ok(agent(one_second()))));
    let crying = cries(&lamp);
    let said = crying.say("Dinner is ready. 😀 Come and eat it now, all of you.");
    assert_eq!(said.await, Ok(Said::Spoken));
    let got = lamp.got.lock().expect("whole").clone();
    assert_eq!(got.len(), 1);
    let url = got[0]["audio_url"].as_str().expect("an address");
    assert!(
        url.starts_with("http://192.168.1.2:8880/xiaozhi/notice/") && url.ends_with(".ogg"),
        "{url}"
    );
    let lines = got[0]["subtitles"].as_array().expect("lines");
    assert_eq!(
        (&lines[0]["start_ms"], &lines[0]["text"]),
        (&0.into(), &"Dinner is ready.".into())
    );
    // A second is 16.7 packets.
    assert_eq!(lines[1]["start_ms"], 1_020);
    let last = lines.last().expect("a line")["text"].to_string();
    assert!(last.ends_with("all of you.\"") && !last.contains('😀'));
    let file = lamp.files.lock().expect("whole")[0].clone();
    assert!(file.starts_with(b"OggS") && file.windows(8).any(|at| at == b"OpusHead"));
}

#[tokio::test]
async fn a_device_that_is_busy_is_shown_the_words_and_the_file_is_gone() {
    let lamp = Arc::new(Boxed {
        fetches: false,
        ..device(Ok(agent(one_second())))
    });
    let crying = cries(&lamp);
    let said = crying.say("Dinner is ready.").await;
    assert_eq!(said, Ok(Said::Shown(WhyShown::NotFetched)));
    assert_eq!(lamp.kinds(), ["notify", "alert"]);
    let url = lamp.got.lock().expect("whole")[0]["audio_url"].to_string();
    let name = url.rsplit_once('/').expect("a path").1.trim_matches('"');
    assert_eq!(lamp.notices.file(name, true), None, "it would speak late");
}

#[tokio::test]
async fn where_nothing_can_be_spoken_the_words_are_shown_and_it_is_said_why() {
    let broken = Voice {
        seconds: 0,
        packets: false,
        fails: true,
    };
    let long = Voice {
        seconds: 101,
        packets: true,
        fails: false,
    };
    let silent = Voice {
        seconds: 0,
        packets: false,
        fails: false,
    };
    let old = WhyShown::Firmware(Some("2.4.2".to_owned()));
    let cases = [
        (Err(old.clone()), "2.4.2"),
        (Err(WhyShown::NoAddress), "NoAddress"),
        (Ok(agent(None)), "NoVoice"),
        (Ok(agent(Some(broken))), "no more breath"),
        (Ok(agent(Some(long))), "TooLong"),
        (Ok(agent(Some(silent))), "NoSound"),
    ];
    for (agent, expected) in cases {
        let lamp = Arc::new(device(agent));
        let said = cries(&lamp).say("Dinner is ready.").await;
        assert!(matches!(said, Ok(Said::Shown(_))), "{said:?}");
        assert!(format!("{said:?}").contains(expected), "{said:?}");
        assert_eq!(lamp.kinds(), ["alert"], "{expected}");
    }
}

#[tokio::test]
async fn the_next_words_wait_until_those_before_were_played() {
    let lamp = Arc::new(device(Ok(agent(one_second()))));
    let crying = cries(&lamp);
    assert_eq!(crying.say("First.").await, Ok(Said::Spoken));
    let began = std::time::Instant::now();
    assert_eq!(crying.say("Second.").await, Ok(Said::Spoken));
    assert!(began.elapsed() >= Duration::from_millis(900));
    assert_eq!(lamp.kinds(), ["notify", "notify"]);
}

#[tokio::test]
async fn words_that_nobody_waits_for_any_more_are_not_said() {
    let lamp = Arc::new(device(Err(WhyShown::NoVoice)));
    let crying = cries(&lamp);
    let (given_up, answered) = say("Old news.");
    drop(answered);
    crying.says.send(given_up).await.expect("it still cries");
    assert!(crying.say("New.").await.is_ok());
    let got = lamp.got.lock().expect("whole").clone();
    assert_eq!((got.len(), &got[0]["message"]), (1, &"New.".into()));
}

#[tokio::test]
async fn a_device_that_has_gone_ends_it() {
    let lamp = Arc::new(Boxed {
        gone: true,
        ..device(Ok(agent(one_second())))
    });
    let crying = cries(&lamp);
    assert_eq!(crying.say("Hello?").await, Err(NotSaid::Gone));
    crying.task.await.expect("no panic");
}

#[tokio::test]
async fn where_too_much_lies_ready_words_are_shown() {
    let lamp = Arc::new(device(Ok(agent(one_second()))));
    let places: Vec<Place> = std::iter::from_fn(|| lamp.notices.place())
        .take(NOTICES)
        .collect();
    let crying = cries(&lamp);
    assert_eq!(
        crying.say("One more.").await,
        Ok(Said::Shown(WhyShown::TooMany))
    );
    drop(places);
    assert_eq!(crying.say("One more.").await, Ok(Said::Spoken));
}

#[tokio::test]
async fn packets_of_a_provider_are_put_into_those_of_60_ms() {
    let voice = Voice {
        seconds: 1,
        packets: true,
        fails: false,
    };
    let notice = Notice::make(agent(Some(voice)), "Dinner.".to_owned()).await;
    let notice = notice.unwrap_or_else(|why| panic!("{why:?}"));
    assert_eq!(notice.lasts, Duration::from_secs(1));
    // The second page that holds sound would begin behind one second; heads have a page each.
    assert_eq!(notice.file.windows(4).filter(|at| at == b"OggS").count(), 3);
}

#[test]
fn there_are_only_as_many_lines_as_devices_take_and_no_word_is_lost() {
    let mut tape = Tape::new();
    // 60 ms.
    let packet = [[0x58].as_slice(), &[7; 40]].concat();
    for number in 0..3 * MAX_SUBTITLES {
        tape.line(&format!("n{number}"));
        tape.line("");
        tape.push(&packet).unwrap_or_else(|why| panic!("{why:?}"));
    }
    // Neither what is too large, too short nor no packet at all.
    let huge = [[0x58].as_slice(), &[7; NOTICE_PACKET]].concat();
    for unfit in [&huge[..], &[0x80, 1], &[]] {
        let _ = tape.push(unfit);
    }
    let notice = tape.finish().unwrap_or_else(|why| panic!("{why:?}"));
    assert_eq!(notice.lines.len(), MAX_SUBTITLES);
    assert_eq!(notice.lines[1], (60, "n1".to_owned()));
    let last = &notice.lines[MAX_SUBTITLES - 1].1;
    assert!(last.ends_with(&format!("n{}", 3 * MAX_SUBTITLES - 1)));
    assert_eq!(notice.lasts, FRAME * 3 * MAX_SUBTITLES as u32);
}
