//! One order, from the first question to the chain. Where it stands is written down before each
//! step (`order.json`), so that the next attempt, after a restart as well, goes on with the same
//! order: authorities count orders.

use instant_acme::{
    Account, AuthorizationStatus, ChallengeStatus, ChallengeType, Error, Identifier, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use safeport_settings::Said;
use serde::{Deserialize, Serialize};

use super::account;
use super::challenges::{Answered, Challenges};
use super::client::{self, AuthorityClient, LOOK};
use super::config::{AcmeConfig, Challenge};
use super::desk::Desk;
use super::hook::{self, Record};
use super::leaf::{self, ServerKeys};
use super::plan::{Key, Window};
use super::shelf::{self, ORDER, Shelf};
use super::trouble::{Asking, Trouble, Unproved, both};
use crate::limits::{ACME_ORDER_LIFE, ACME_PATIENCE};

/// What an order needs.
pub(super) struct Errand<'a> {
    pub(super) config: &'a AcmeConfig,
    pub(super) keys: &'a ServerKeys,
    pub(super) key: Key,
    pub(super) shelf: &'a Shelf,
    pub(super) challenges: &'a Challenges,
    pub(super) desk: &'a dyn Desk,
    /// The authority makes suggestions, and wants to know which certificate a new one replaces.
    pub(super) replaces: bool,
    pub(super) now: u64,
}

/// Where an order stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OrderNote {
    url: String,
    directory: String,
    names: Vec<String>,
    key: Key,
    placed: u64,
    step: Step,
    /// Records that the hook was asked to set, and not yet to take away.
    #[serde(default)]
    records: Vec<Record>,
}

/// What is done next with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    /// It is there, and nothing more.
    Placed,
    /// Names are being proved.
    Proving,
    /// The names are proved; the certificate is asked for.
    Finalizing,
}

impl Errand<'_> {
    /// Goes on with the order that is there, or places one, and carries it to its end: the chain, as
    /// PEM. The note about the order stays until [`Errand::done`].
    pub(super) async fn run(&self) -> Result<String, Trouble> {
        let mut note = self.tidy().await?;
        let client = AuthorityClient::new(self.config.ca_file.as_deref())?;
        let mut account = account::open(self.shelf, self.config, &client).await?;
        let resumed = match &note {
            Some(note) => self.resume(&account, note).await,
            None => None,
        };
        let mut order = match resumed {
            Some(order) => order,
            None => {
                let placed = match self.place(&account, &client).await {
                    Err(trouble) if trouble.is_unknown_account() => {
                        account::forget(self.shelf, self.config)?;
                        account = account::open(self.shelf, self.config, &client).await?;
                        self.place(&account, &client).await
                    }
                    placed => placed,
                };
                let order = placed?;
                note = Some(self.note(&order)?);
                order
            }
        };
        let Some(mut note) = note else {
            return Err(Trouble::order_ended("lost"));
        };
        let chain = self.carry(&mut order, &mut note, &client).await;
        if let Err(trouble) = &chain
            && ends_the_order(trouble)
        {
            self.shelf.remove(ORDER)?;
        }
        chain
    }

    /// The order has come to its end.
    pub(super) fn done(&self) -> Result<(), Trouble> {
        self.shelf.remove(ORDER)
    }

    /// When the authority would like this certificate renewed, and seconds until it may be asked
    /// again; `None` if it makes no suggestions.
    pub(super) async fn suggestion(&self, chain: &str) -> Result<Option<(Window, u64)>, Trouble> {
        let pair = self.keys.pair(self.key)?;
        let Ok(leaf) = leaf::Leaf::read(chain, &pair) else {
            return Ok(None);
        };
        let client = AuthorityClient::new(self.config.ca_file.as_deref())?;
        let account = account::existing(self.shelf, self.config, &client).await?;
        let (Some(account), Some(identifier)) = (account, leaf.identifier()) else {
            return Ok(None);
        };
        let (info, again) = match account.renewal_info(&identifier).await {
            Ok(told) => told,
            Err(Error::Unsupported(_)) => return Ok(None),
            Err(error) => {
                return Err(self.config.trouble(Asking::Directory, &error, &client));
            }
        };
        let window = info.suggested_window;
        let moment = |at: time::OffsetDateTime| u64::try_from(at.unix_timestamp()).unwrap_or(0);
        let window = Window {
            start: moment(window.start),
            end: moment(window.end),
        };
        Ok(Some((window, again.as_secs())))
    }

    /// Takes away records that an attempt which was cut off has left behind. The order of that
    /// attempt, if it is one for what is wanted now.
    async fn tidy(&self) -> Result<Option<OrderNote>, Trouble> {
        // A note that cannot be read costs an order, not the certificate.
        let Ok(Some(mut note)) = self.shelf.read_json::<OrderNote>(ORDER) else {
            self.shelf.remove(ORDER)?;
            return Ok(None);
        };
        self.clean_up(&mut note).await?;
        let fits = note.key == self.key
            && note.directory == self.config.directory
            && note.names == self.config.names
            && self.now < note.placed + ACME_ORDER_LIFE.as_secs()
            && self.now + ACME_ORDER_LIFE.as_secs() > note.placed;
        if fits {
            return Ok(Some(note));
        }
        self.shelf.remove(ORDER)?;
        Ok(None)
    }

    /// The order of a note, if the authority still knows it and it can still succeed.
    async fn resume(&self, account: &Account, note: &OrderNote) -> Option<Order> {
        let mut order = account.order(note.url.clone()).await.ok()?;
        if order.state().status == OrderStatus::Invalid {
            return None;
        }
        // An attempt that was cut off between the chain and the note would bring the same again.
        if order.state().status == OrderStatus::Valid {
            let chain = order.certificate().await.ok()??;
            let served = self.shelf.read(&shelf::certificate(self.key)).ok()?;
            if served.is_some_and(|served| served == chain) {
                return None;
            }
        }
        tracing::info!(target: "safeport::acme", "going on with the order {}", note.url);
        Some(order)
    }

    async fn place(&self, account: &Account, client: &AuthorityClient) -> Result<Order, Trouble> {
        let names = self.config.names.iter();
        let identifiers: Vec<Identifier> =
            names.map(|name| Identifier::Dns(name.clone())).collect();
        let wanted = NewOrder::new(&identifiers);
        if self.replaces
            && let Ok(Some(chain)) = self.shelf.read(&shelf::certificate(self.key))
            && let Ok(leaf) = leaf::Leaf::read(&chain, &self.keys.pair(self.key)?)
            && let Some(identifier) = leaf.identifier()
        {
            let replacing = NewOrder::new(&identifiers).replaces(identifier);
            // It only spares us the authority's limits; a refusal may be of just that.
            if let Ok(order) = account.new_order(&replacing).await {
                return Ok(order);
            }
        }
        let placed = account.new_order(&wanted).await;
        placed.map_err(|error| self.config.trouble(Asking::Order, &error, client))
    }

    fn note(&self, order: &Order) -> Result<OrderNote, Trouble> {
        let note = OrderNote {
            url: order.url().to_owned(),
            directory: self.config.directory.clone(),
            names: self.config.names.clone(),
            key: self.key,
            placed: self.now,
            step: Step::Placed,
            records: Vec::new(),
        };
        self.shelf.write_json(ORDER, &note)?;
        Ok(note)
    }

    async fn carry(
        &self,
        order: &mut Order,
        note: &mut OrderNote,
        client: &AuthorityClient,
    ) -> Result<String, Trouble> {
        if order.state().status == OrderStatus::Pending {
            note.step = Step::Proving;
            self.shelf.write_json(ORDER, note)?;
            let proved = self.prove(order, note, client).await;
            // A name server must not fill up with the records of failures.
            let cleaned = self.clean_up(note).await;
            proved?;
            cleaned?;
        }
        if order.state().status == OrderStatus::Ready {
            note.step = Step::Finalizing;
            self.shelf.write_json(ORDER, note)?;
            let request = leaf::request(&self.keys.pair(self.key)?, &self.config.names)?;
            let finalized = order.finalize_csr(&request).await;
            finalized.map_err(|error| self.config.trouble(Asking::Certificate, &error, client))?;
        }
        if order.state().status == OrderStatus::Invalid {
            return Err(Trouble::order_ended("invalid"));
        }
        let chain = order.poll_certificate(&patience()).await;
        chain.map_err(|error| self.config.trouble(Asking::Certificate, &error, client))
    }

    /// Proves every name that is not proved yet.
    async fn prove(
        &self,
        order: &mut Order,
        note: &mut OrderNote,
        client: &AuthorityClient,
    ) -> Result<(), Trouble> {
        let asking = |error: &Error| self.config.trouble(Asking::Proof, error, client);
        let kind = challenge_type(self.config.challenge);
        let mut staged = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| asking(&error))?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                ended => return Err(Trouble::order_ended(&format!("{ended:?}").to_lowercase())),
            }
            let name = authorization.identifier().to_string();
            let offered = offered(&authorization.challenges);
            let Some(challenge) = authorization.challenge(kind.clone()) else {
                return Err(Trouble::not_offered(&name, self.config.challenge, &offered));
            };
            let token = challenge.token.clone();
            let authorization = challenge.key_authorization();
            staged.push(match self.config.challenge {
                Challenge::Http01 => Staged {
                    answered: Some(self.challenges.answer_with(&token, authorization.as_str())),
                    token,
                    name,
                    presented: None,
                },
                Challenge::TlsAlpn01 => Staged {
                    answered: None,
                    presented: Some(Presented::new(
                        self.desk,
                        &name,
                        authorization.digest().as_ref(),
                    )?),
                    token,
                    name,
                },
                Challenge::Dns01 => {
                    let record = Record {
                        name: format!("_acme-challenge.{}", name.trim_start_matches("*.")),
                        value: authorization.dns_value(),
                    };
                    note.records.push(record);
                    Staged {
                        answered: None,
                        presented: None,
                        token,
                        name,
                    }
                }
            });
        }
        self.shelf.write_json(ORDER, note)?;
        for record in &note.records {
            hook::run(self.hook(), "present", record).await?;
        }
        self.ask_to_look(order, client).await?;
        let ready = order.poll_ready(&patience()).await;
        match ready {
            Ok(OrderStatus::Invalid) | Err(Error::Api(_)) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(asking(&error)),
        }
        let unproved = self.unproved(order, &staged).await;
        Err(match (unproved.is_empty(), ready) {
            (false, _) => Trouble::unproved(self.config.challenge, &unproved),
            (true, Err(error)) => asking(&error),
            (true, Ok(_)) => Trouble::order_ended("invalid"),
        })
    }

    async fn ask_to_look(
        &self,
        order: &mut Order,
        client: &AuthorityClient,
    ) -> Result<(), Trouble> {
        let asking = |error: &Error| self.config.trouble(Asking::Proof, error, client);
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| asking(&error))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let challenge = authorization.challenge(challenge_type(self.config.challenge));
            if let Some(mut challenge) = challenge
                // An attempt before this one may have asked already.
                && challenge.status == ChallengeStatus::Pending
            {
                challenge
                    .set_ready()
                    .await
                    .map_err(|error| asking(&error))?;
            }
        }
        Ok(())
    }

    /// What the authority says of each name that it could not see to be ours.
    async fn unproved(&self, order: &mut Order, staged: &[Staged<'_>]) -> Vec<Unproved> {
        let mut found = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let Ok(state) = authorization.refresh().await else {
                continue;
            };
            if state.status == AuthorizationStatus::Valid {
                continue;
            }
            let kind = challenge_type(self.config.challenge);
            let challenge = state.challenges.iter().find(|each| each.r#type == kind);
            let problem = challenge.and_then(|each| each.error.clone());
            if problem.is_none() && state.status == AuthorizationStatus::Pending {
                continue;
            }
            found.push(Unproved {
                name: state.identifier().to_string(),
                problem,
                look: None,
            });
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        if self.config.challenge == Challenge::Http01 {
            for one in &mut found {
                let staged = staged.iter().find(|staged| staged.name == one.name);
                if let Some(staged) = staged {
                    one.look = Some(self.look(&one.name, &staged.token).await);
                }
            }
        }
        found
    }

    /// Goes the authority's way for ourselves. From inside a home it often leads elsewhere, so
    /// nothing depends on it.
    async fn look(&self, name: &str, token: &str) -> Said {
        let url = format!("http://{name}{}{token}", super::challenges::PATH);
        let fetch = async {
            let request = axum::http::Request::get(&url).body(axum::body::Bytes::new());
            let request = request.map_err(|error| error.to_string())?;
            let uri = request.uri().clone();
            let stream = client::connect(name, 80).await.map_err(|e| e.to_string())?;
            let answer = client::send(stream, request, &uri).await;
            answer.map_err(|error| error.to_string())
        };
        let answer = tokio::time::timeout(LOOK, fetch).await;
        match answer.unwrap_or_else(|_| Err(format!("no answer within {LOOK:?}"))) {
            Err(why) => both!(
                "from this machine, {name} cannot be reached at port 80: {why}",
                "从本机无法连接 {name} 的 80 端口：{why}"
            ),
            Ok(answer) => {
                let expected = self.challenges.answer(token).unwrap_or_default();
                if answer.body().as_ref() == expected.as_bytes() {
                    both!(
                        "from this machine, {url} leads here as it should",
                        "从本机访问 {url} 可以正确到达这里"
                    )
                } else {
                    let status = answer.status().as_u16();
                    both!(
                        "from this machine, {url} leads to another server (HTTP {status})",
                        "从本机访问 {url} 到达的是另一台服务器（HTTP {status}）"
                    )
                }
            }
        }
    }

    /// Has every record taken away that the hook was asked to set. A hook that fails at that only
    /// leaves something lying about.
    async fn clean_up(&self, note: &mut OrderNote) -> Result<(), Trouble> {
        if note.records.is_empty() {
            return Ok(());
        }
        for record in &note.records {
            if let Err(trouble) = hook::run(self.hook(), "cleanup", record).await {
                tracing::warn!(target: "safeport::acme", "{}; {}", trouble.what, trouble.next);
            }
        }
        note.records.clear();
        self.shelf.write_json(ORDER, note)
    }

    fn hook(&self) -> &std::path::Path {
        self.config
            .dns_hook
            .as_deref()
            .unwrap_or(std::path::Path::new(""))
    }
}

impl AcmeConfig {
    /// An error of the library, told.
    pub(super) fn trouble(
        &self,
        asking: Asking,
        error: &Error,
        client: &AuthorityClient,
    ) -> Trouble {
        Trouble::of(asking, &self.directory, error).bar(client.retry_after())
    }
}

/// Where the proof for one name stands, for as long as this lives.
struct Staged<'a> {
    name: String,
    token: String,
    #[expect(dead_code, reason = "answers until it is dropped")]
    answered: Option<Answered>,
    #[expect(dead_code, reason = "presents until it is dropped")]
    presented: Option<Presented<'a>>,
}

/// A name that is presented for `tls-alpn-01`.
struct Presented<'a> {
    desk: &'a dyn Desk,
    name: String,
}

impl<'a> Presented<'a> {
    fn new(desk: &'a dyn Desk, name: &str, digest: &[u8]) -> Result<Presented<'a>, Trouble> {
        desk.present_proof(name, digest)
            .map_err(|error| Trouble::own_key(&error))?;
        Ok(Presented {
            desk,
            name: name.to_owned(),
        })
    }
}

impl Drop for Presented<'_> {
    fn drop(&mut self) {
        self.desk.clear_proof(&self.name);
    }
}

/// Whether another attempt has to place another order.
fn ends_the_order(trouble: &Trouble) -> bool {
    !matches!(
        trouble.code,
        "authority_unreachable"
            | "authority_untrusted"
            | "authority_down"
            | "authority_slow"
            | "authority_strange"
            | "dns_hook_failed"
            | "file_unwritable"
            | "rate_limited"
    )
}

fn challenge_type(challenge: Challenge) -> ChallengeType {
    match challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Challenge::Dns01 => ChallengeType::Dns01,
    }
}

fn offered(challenges: &[instant_acme::Challenge]) -> Vec<String> {
    let words = challenges.iter().map(|each| match &each.r#type {
        ChallengeType::Http01 => "http-01".to_owned(),
        ChallengeType::TlsAlpn01 => "tls-alpn-01".to_owned(),
        ChallengeType::Dns01 => "dns-01".to_owned(),
        ChallengeType::Unknown(word) => word.clone(),
        other => format!("{other:?}"),
    });
    words.collect()
}

/// How long, and how often, the authority is asked whether it has come to an end.
fn patience() -> RetryPolicy {
    RetryPolicy::new()
        .initial_delay(std::time::Duration::from_millis(250))
        .backoff(1.6)
        .timeout(ACME_PATIENCE)
}
