//! Engines that take their time to load: they load beside everything else, and who needs them earlier waits.

use std::sync::Arc;

use safeport_voice::{
    Failure, FailureKind, Job, Recognizer, Sound, Speech, Stage, Synthesizer, Transcript,
};
use tokio::sync::{mpsc, watch};

type Loaded<T> = Option<Result<Arc<T>, Failure>>;

/// One that is being loaded, or was.
pub(super) struct Late<T> {
    loaded: watch::Receiver<Loaded<T>>,
    provider: Box<str>,
    stage: Stage,
}

impl<T: Send + Sync + 'static> Late<T> {
    /// Loads on a thread of its own.
    pub(super) fn load(
        provider: &str,
        stage: Stage,
        load: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Late<T> {
        let (tell, loaded) = watch::channel(None);
        let work = move || {
            let done = load().map(Arc::new);
            if let Err(failure) = &done {
                tracing::warn!(target: "safeport::voice", "{failure}");
            }
            let _ = tell.send(Some(done));
        };
        // Without a thread the sender goes, and who asks is told.
        let started = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(work);
        if let Err(error) = started {
            tracing::error!(target: "safeport::voice", provider, "no thread to load it: {error}");
        }
        Late {
            loaded,
            provider: provider.into(),
            stage,
        }
    }

    async fn engine(&self) -> Result<Arc<T>, Failure> {
        let mut loaded = self.loaded.clone();
        let loaded = match loaded.wait_for(Option::is_some).await {
            Ok(loaded) => loaded.clone(),
            Err(_) => None,
        };
        loaded.unwrap_or_else(|| {
            Err(Failure {
                stage: self.stage,
                provider: self.provider.clone(),
                kind: FailureKind::Failed,
                detail: "loading it broke off; the log says why".into(),
            })
        })
    }
}

impl<T: Recognizer + 'static> Recognizer for Late<T> {
    fn recognize<'a>(&'a self, speech: Speech, language: Option<&'a str>) -> Job<'a, Transcript> {
        Box::pin(async move { self.engine().await?.recognize(speech, language).await })
    }
}

impl<T: Synthesizer + 'static> Synthesizer for Late<T> {
    fn speak<'a>(
        &'a self,
        text: &'a str,
        language: Option<&'a str>,
        sound: mpsc::Sender<Sound>,
    ) -> Job<'a, ()> {
        Box::pin(async move { self.engine().await?.speak(text, language, sound).await })
    }
}
