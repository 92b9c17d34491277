//! Chains that the settings name: read, judged, and read again when they change.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use safeport_net::pki::{AnchorKind, Chain, ChainError, Roots, authorities};
use safeport_settings::{Problem, Said, Settings, Source};

use super::chain_said;

/// Which files (`tls.chain_files`, `tls.key_files`, `tls.ca_file`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainFiles {
    /// Each chain with its key.
    pairs: Vec<(PathBuf, PathBuf)>,
    /// Further roots at which chains may end.
    roots: Option<PathBuf>,
}

/// A chain that is not presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its file.
    pub path: PathBuf,
    /// Why, and what to do.
    pub why: Said,
}

/// What a file looked like from outside.
pub(super) type Mark = Vec<Option<(SystemTime, u64)>>;

impl ChainFiles {
    /// Those that the settings name.
    pub fn of(settings: &Settings) -> ChainFiles {
        let tls = &settings.tls;
        let path = |file: &safeport_settings::FilePath| PathBuf::from(file.as_str());
        let keys = tls.key_files.iter().map(path);
        ChainFiles {
            pairs: tls.chain_files.iter().map(path).zip(keys).collect(),
            roots: (!tls.ca_file.is_empty()).then(|| PathBuf::from(&tls.ca_file)),
        }
    }

    /// Whether none are named.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Reads and judges all. `own_root` is the certificate of the private authority (DER), at which
    /// a chain may end as well.
    pub fn read(&self, own_root: &[u8], now: SystemTime) -> (Vec<Chain>, Vec<Refused>) {
        if self.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let mut refused = Vec::new();
        let roots = Roots::public().with_certificate(AnchorKind::Private, own_root);
        let roots = match &self.roots {
            None => roots,
            Some(path) => match roots.clone().with_file(path) {
                Ok(all) => all,
                Err(error) => {
                    refused.push(Refused::new(path, &error));
                    roots
                }
            },
        };
        let mut chains = Vec::new();
        for (chain, key) in &self.pairs {
            match Chain::from_files(chain, key, &roots, now) {
                Ok(chain) => chains.push(chain),
                Err(error) => refused.push(Refused::new(chain, &error)),
            }
        }
        (chains, refused)
    }

    /// Another one as soon as a file is replaced or written. A link counts as what it leads to:
    /// that is how certbot exchanges them.
    pub(super) fn mark(&self) -> Mark {
        let pairs = self.pairs.iter().flat_map(|(chain, key)| [chain, key]);
        pairs
            .chain(&self.roots)
            .map(|path| {
                let seen = std::fs::metadata(path).ok()?;
                Some((seen.modified().ok()?, seen.len()))
            })
            .collect()
    }
}

impl Refused {
    fn new(path: &Path, error: &ChainError) -> Refused {
        Refused {
            path: path.to_owned(),
            why: chain_said(error),
        }
    }
}

/// What is wrong with the files of authorities for client certificates. A listener that could not
/// ask for them would let everybody in, so nothing starts with them.
pub fn client_ca_problems(settings: &Settings) -> Vec<Problem> {
    let listeners = [
        ("mqtts.client_ca_file", &settings.mqtts.client_ca_file),
        ("https.client_ca_file", &settings.https.client_ca_file),
    ];
    let named = listeners.into_iter().filter(|(_, file)| !file.is_empty());
    named
        .filter_map(|(key, file)| {
            let error = authorities(Path::new(file)).err()?;
            Some(Problem {
                source: settings.source(key).cloned().unwrap_or(Source::Default),
                key: Some(key.to_owned()),
                what: chain_said(&error),
                help: Said::new(
                    "name a PEM file with the root of the authority that issued the clients' certificates",
                    "请指明 PEM 文件，其中是签发客户端证书的机构的根证书",
                ),
                related: None,
            })
        })
        .collect()
}

/// What `check` says of the files that the settings name.
pub fn chain_problems(settings: &Settings, own_root: &[u8], now: SystemTime) -> Vec<Problem> {
    let (_, refused) = ChainFiles::of(settings).read(own_root, now);
    let key = "tls.chain_files";
    let source = settings.source(key).cloned().unwrap_or(Source::Default);
    let problem = |refused: Refused| Problem {
        source: source.clone(),
        key: Some(key.to_owned()),
        what: refused.why,
        help: Said::new(
            "until then the private certificates are presented in its place",
            "在此之前将改用私有证书",
        ),
        related: None,
    };
    refused.into_iter().map(problem).collect()
}
