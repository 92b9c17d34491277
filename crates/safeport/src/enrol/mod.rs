//! Devices come in and get new credentials: one or many, by the API or by the command line beside
//! a folder that no server runs on.

mod reach;
mod table;

use std::collections::{HashMap, HashSet};

use clap::Args;
use safeport_fleet::{Device, DeviceName, Family, Grant, MacAddress, Setup};
use safeport_settings::Settings;
use safeport_store::{
    By, DataFolder, DeviceRecord, Kind, ManagedRow, Registry, Rights, StoreError,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::reach::Reach;
pub use self::table::{BadTable, read_table};
use crate::console::{Exit, Failure};
use crate::limits::BULK_DEVICES;
use crate::password::{self, Cost};
use crate::reading::Read;
use crate::serve::access::device as device_of;
use crate::text::Texts;
use crate::{say, token};

/// What enrolment stands on.
pub struct Ground<'a> {
    /// Where devices are written down.
    pub registry: &'a mut Registry,
    /// The data folder, with the certificates.
    pub folder: &'a DataFolder,
    /// The settings as they are now.
    pub settings: &'a Settings,
    /// The managed source.
    pub managed: &'a [ManagedRow],
    /// What the settings were read from; none beside files with mistakes.
    pub read: Option<&'a Read>,
    /// Whether a server runs that proves addresses.
    pub serves: bool,
    /// Who enrols, for the audit.
    pub who: &'a str,
    /// Seconds since 1970.
    pub now: u64,
    /// The reader's language.
    pub texts: &'a Texts,
}

/// What a person says about the way from the device to the server.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
pub struct Way {
    /// Name or address of this server as the device sees it. Default: the address that is proved to
    /// reach this server, see `safeport ports`
    #[arg(long)]
    pub host: Option<String>,
    /// Port, where a router or container maps it. Default: that of the listener
    #[arg(long)]
    pub port: Option<u16>,
    /// Connect to mqtts with the server's fingerprint or CA instead of plain mqtt
    #[arg(long)]
    #[serde(default)]
    pub tls: bool,
}

/// A device that is to be added.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The word of its family.
    pub family: String,
    /// Its name.
    pub name: String,
    /// Its topic, where that is not the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Its hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Filters that it may publish to beyond its family's.
    #[serde(default)]
    pub publish: Vec<String>,
    /// Filters that it may subscribe to beyond its family's.
    #[serde(default)]
    pub subscribe: Vec<String>,
    /// Where it stands in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// A device with credentials that are shown this once.
pub struct Enrolled {
    device: Device,
    reach: Reach,
    password: String,
    firmware: Option<String>,
    setup: Setup,
}

/// Why nobody was added.
pub enum EnrolError {
    /// The registry says no.
    Store(StoreError),
    /// Something about the device, its way or the machine.
    Unfit(Failure),
    /// All that is wrong in a list.
    Mistakes(Vec<Mistake>),
}

/// What is wrong with one device of a list.
pub struct Mistake {
    /// Where it stands in the file, or which one it is from 1.
    pub line: u64,
    /// Its name as it was given.
    pub name: String,
    /// What is wrong.
    pub what: String,
}

impl From<StoreError> for EnrolError {
    fn from(error: StoreError) -> EnrolError {
        EnrolError::Store(error)
    }
}

impl From<Failure> for EnrolError {
    fn from(failure: Failure) -> EnrolError {
        EnrolError::Unfit(failure)
    }
}

impl Mistake {
    /// As the API tells it.
    pub fn json(&self) -> Value {
        json!({"line": self.line, "name": self.name, "what": self.what})
    }
}

impl Ground<'_> {
    /// The settings as one device is told them.
    fn told_to(&self, device: &str, tags: &[String]) -> Result<Settings, Failure> {
        match self.read {
            Some(read) => read
                .told_to(device, tags)
                .map_err(|error| error.failure(self.texts, false)),
            None => Ok(self.settings.clone()),
        }
    }
}

/// Adds one device.
///
/// # Errors
/// What is wrong with it; then it is not added.
pub fn add(ground: &mut Ground<'_>, wanted: &Wanted, way: &Way) -> Result<Enrolled, EnrolError> {
    let device = described(wanted, ground.now, ground.texts)?;
    if let Some(holder) = topic_holder(ground, &device)? {
        let (name, topic) = (device.name.as_str(), &device.topic);
        let what = say!(
            ground.texts,
            "enrol-topic-taken",
            name = name,
            topic = topic,
            holder = holder
        );
        return Err(Failure::new(what)
            .next(say!(ground.texts, "enrol-topic-next"))
            .into());
    }
    let reach = Reach::find(way, ground, device.family, &wanted.name, &wanted.tags)?;
    // The text first: a device whose setup cannot be written is not added.
    let enrolled = Enrolled::new(device, reach, ground.texts)?;
    let record = enrolled.record(&wanted.tags, ground.texts)?;
    let by = By {
        who: ground.who,
        at: ground.now,
    };
    ground.registry.add_devices(&[record], by)?;
    enrolled.reach.note(ground.registry, &enrolled.device)?;
    Ok(enrolled)
}

/// Adds many devices, all or none.
///
/// # Errors
/// Everything that is wrong with any of them; then none is added.
pub fn add_all(
    ground: &mut Ground<'_>,
    wanted: &[Wanted],
    way: &Way,
) -> Result<Vec<Enrolled>, EnrolError> {
    let texts = ground.texts;
    if wanted.len() > BULK_DEVICES {
        let what = say!(
            texts,
            "enrol-too-many",
            count = wanted.len(),
            most = BULK_DEVICES
        );
        return Err(Failure::usage(what).into());
    }
    let mut taken = Taken::of(ground.registry)?;
    let mut reaches: HashMap<(Family, Vec<String>), Result<Reach, String>> = HashMap::new();
    let mut enrolled = Vec::new();
    let mut mistakes = Vec::new();
    for (index, wanted) in wanted.iter().enumerate() {
        let line = wanted.line.unwrap_or(index as u64 + 1);
        let mut wrong = |what: String| {
            mistakes.push(Mistake {
                line,
                name: wanted.name.clone(),
                what,
            });
        };
        let device = match described(wanted, ground.now, texts) {
            Ok(device) => device,
            Err(failure) => {
                wrong(failure.one_text());
                continue;
            }
        };
        let clashes = taken.take(&device, line, texts);
        let bad_tags = bad_tags(&wanted.tags);
        let mut tags = wanted.tags.clone();
        tags.sort();
        let key = (device.family, tags);
        let reach = reaches.entry(key).or_insert_with_key(|(family, tags)| {
            Reach::find(way, ground, *family, "", tags).map_err(|failure| failure.one_text())
        });
        let told = match reach {
            Ok(reach) => Enrolled::new(device, reach.clone(), texts).map_err(|f| f.one_text()),
            Err(why) => Err(why.clone()),
        };
        clashes.into_iter().chain(bad_tags).for_each(&mut wrong);
        match told {
            Ok(one) => enrolled.push((one, &wanted.tags)),
            Err(why) => wrong(why),
        }
    }
    if !mistakes.is_empty() {
        return Err(EnrolError::Mistakes(mistakes));
    }
    let records = enrolled
        .iter()
        .map(|(one, tags)| one.record(tags, texts))
        .collect::<Result<Vec<_>, Failure>>()?;
    let by = By {
        who: ground.who,
        at: ground.now,
    };
    ground.registry.add_devices(&records, by)?;
    for (one, _) in &enrolled {
        one.reach.note(ground.registry, &one.device)?;
    }
    Ok(enrolled.into_iter().map(|(one, _)| one).collect())
}

/// Gives a device new credentials; the old ones are good no longer.
///
/// # Errors
/// There is no such device, or its setup cannot be written; then the old ones stay.
pub fn renew(ground: &mut Ground<'_>, name: &str, way: &Way) -> Result<Enrolled, EnrolError> {
    let texts = ground.texts;
    let Some(record) = ground.registry.device(name)? else {
        return Err(StoreError::NotFound {
            kind: Kind::Device,
            name: name.to_owned(),
        }
        .into());
    };
    let tags = record.tags.clone();
    let device = device_of(record)
        .map_err(|why| Failure::new(say!(texts, "device-unreadable", name = name)).detail(why))?;
    let reach = Reach::find(way, ground, device.family, name, &tags)?;
    let enrolled = Enrolled::new(device, reach, texts)?;
    let (record, token) = enrolled.record(&tags, texts)?;
    let by = By {
        who: ground.who,
        at: ground.now,
    };
    ground
        .registry
        .set_device_password(name, &record.password_hash, by)?;
    // What was fetched with the old one is fetched no longer.
    match &token {
        Some(token) => ground.registry.set_device_token(name, token, by)?,
        None => drop(ground.registry.revoke_device_token(name, by)?),
    }
    enrolled.reach.note(ground.registry, &enrolled.device)?;
    Ok(enrolled)
}

/// The device that was asked for.
fn described(wanted: &Wanted, now: u64, texts: &Texts) -> Result<Device, Failure> {
    let family: Family = wanted.family.parse().map_err(|error| {
        Failure::usage(say!(
            texts,
            "enrol-family-bad",
            family = format!("{:?}", wanted.family)
        ))
        .detail(error)
    })?;
    let mac = match wanted.mac.as_deref().filter(|mac| !mac.is_empty()) {
        None => None,
        Some(text) => Some(text.parse::<MacAddress>().map_err(|error| {
            Failure::usage(say!(texts, "enrol-mac-bad", mac = text)).detail(error)
        })?),
    };
    let bad_name = |error: safeport_fleet::NameError| {
        Failure::usage(say!(texts, "device-name-bad", name = wanted.name)).detail(error)
    };
    let name = DeviceName::new(&wanted.name).map_err(bad_name)?;
    let mut device = Device::new(name, family, mac, now).map_err(bad_name)?;
    if let Some(topic) = wanted.topic.as_deref().filter(|topic| !topic.is_empty()) {
        device = device.with_topic(topic).map_err(|error| {
            Failure::usage(say!(texts, "device-topic-bad", topic = topic)).detail(error)
        })?;
    }
    device.extra = Grant {
        publish: wanted.publish.clone(),
        subscribe: wanted.subscribe.clone(),
    };
    device
        .extra
        .check()
        .map_err(|error| Failure::usage(say!(texts, "filter-bad")).detail(error))?;
    Ok(device)
}

/// Who has the topic that the device wants: two could not be kept apart.
fn topic_holder(ground: &Ground<'_>, device: &Device) -> Result<Option<String>, StoreError> {
    let group = group(device.family);
    let holders = ground.registry.devices_with_topic(&device.topic)?;
    Ok(holders
        .into_iter()
        .find(|(name, family)| {
            name != device.name.as_str()
                && family
                    .parse()
                    .is_ok_and(|known| self::group(known) == group)
        })
        .map(|(name, _)| name))
}

/// Families whose topics grow in the same place.
fn group(family: Family) -> u8 {
    match family {
        Family::Tasmota => 0,
        Family::Xiaozhi => 1,
        Family::EspEasy | Family::EspHome | Family::Plain => 2,
    }
}

fn bad_tags(tags: &[String]) -> Option<String> {
    let is_tag = |tag: &String| {
        (1..=32).contains(&tag.len())
            && tag
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let bad = tags.iter().find(|tag| !is_tag(tag))?;
    Some(StoreError::BadTag { tag: bad.clone() }.to_string())
}

/// Names, addresses and topics that somebody has; lines for those of the list itself.
#[derive(Default)]
struct Taken {
    logins: HashMap<String, Option<u64>>,
    macs: HashMap<String, String>,
    topics: HashMap<(u8, String), String>,
    /// Everything above a topic: nothing may be put there either.
    above: HashSet<(u8, String)>,
}

impl Taken {
    fn of(registry: &mut Registry) -> Result<Taken, StoreError> {
        let known = registry.load()?;
        let mut taken = Taken::default();
        for user in known.users {
            taken.logins.insert(user.name, None);
        }
        for device in known.devices {
            if let Some(mac) = &device.mac {
                taken.macs.insert(mac.clone(), device.name.clone());
            }
            if let Ok(family) = device.family.parse() {
                taken.note_topic(group(family), &device.topic, &device.name);
            }
            taken.logins.insert(device.name, None);
        }
        Ok(taken)
    }

    fn note_topic(&mut self, group: u8, topic: &str, name: &str) {
        self.topics
            .insert((group, topic.to_owned()), name.to_owned());
        for above in above(topic) {
            self.above.insert((group, above.to_owned()));
        }
    }

    /// Takes what the device needs, and says what somebody else has.
    fn take(&mut self, device: &Device, line: u64, texts: &Texts) -> Vec<String> {
        let mut clashes = Vec::new();
        let name = device.name.as_str();
        match self.logins.get(name) {
            None => drop(self.logins.insert(name.to_owned(), Some(line))),
            Some(None) => clashes.push(say!(texts, "name-taken", name = name)),
            Some(Some(first)) => {
                clashes.push(say!(texts, "enrol-name-twice", name = name, line = first));
            }
        }
        if let Some(mac) = device.mac.map(|mac| mac.to_string()) {
            match self.macs.get(&mac) {
                Some(holder) => {
                    clashes.push(say!(texts, "enrol-mac-taken", mac = mac, holder = holder));
                }
                None => drop(self.macs.insert(mac, name.to_owned())),
            }
        }
        let (group, topic) = (group(device.family), &device.topic);
        let key = |topic: &str| (group, topic.to_owned());
        let same = self.topics.get(&key(topic));
        let over = above(topic).find_map(|above| self.topics.get(&key(above)));
        let under = self.above.contains(&key(topic));
        if let Some(holder) = same.or(over).filter(|holder| *holder != name) {
            clashes.push(say!(
                texts,
                "enrol-topic-taken",
                name = name,
                topic = topic,
                holder = holder
            ));
        } else if under {
            clashes.push(say!(texts, "enrol-topic-above", name = name, topic = topic));
        } else {
            self.note_topic(group, topic, name);
        }
        clashes
    }
}

/// `a` and `a/b` of `a/b/c`.
fn above(topic: &str) -> impl Iterator<Item = &str> {
    topic.match_indices('/').map(|(at, _)| &topic[..at])
}

impl Enrolled {
    /// Draws credentials and writes the text.
    fn new(device: Device, reach: Reach, texts: &Texts) -> Result<Enrolled, Failure> {
        let drawn = password::generate()
            .map_err(|error| Failure::new(say!(texts, "password-failed")).detail(error))?;
        let password = drawn.as_str().to_owned();
        let firmware = match (&reach.downloads, device.family) {
            (None, _) => None,
            (Some(at), Family::Xiaozhi) => Some(at.url("/xiaozhi/ota/")),
            (Some(at), family) => {
                let token = token::draw_for_device().map_err(|error| {
                    Failure::new(say!(texts, "token-no-randomness")).detail(error)
                })?;
                let file = match family {
                    Family::EspHome => "manifest.json",
                    _ => "firmware.bin",
                };
                Some(at.url(&format!("/ota/{token}/{file}")))
            }
        };
        let setup = reach.setup(&device, &password, firmware.as_deref(), texts)?;
        Ok(Enrolled {
            device,
            reach,
            password,
            firmware,
            setup,
        })
    }

    /// What is kept of it: the device and its download token.
    fn record(
        &self,
        tags: &[String],
        texts: &Texts,
    ) -> Result<(DeviceRecord, Option<String>), Failure> {
        let device = &self.device;
        let password_hash = password::hash(self.password.as_bytes(), Cost::Generated)
            .map_err(|error| Failure::new(say!(texts, "password-failed")).detail(error))?;
        let record = DeviceRecord {
            name: device.name.as_str().to_owned(),
            family: device.family.to_string(),
            topic: device.topic.clone(),
            client_id: device.client_id.clone(),
            username: device.username.clone(),
            mac: device.mac.map(|mac| mac.to_string()),
            password_hash,
            extra: Rights {
                publish: device.extra.publish.clone(),
                subscribe: device.extra.subscribe.clone(),
            },
            tags: tags.to_vec(),
            created: device.created,
        };
        let token = self
            .firmware
            .as_deref()
            .and_then(|url| url.split_once("/ota/d"))
            .and_then(|(_, rest)| rest.split('/').next())
            .map(|rest| format!("d{rest}"));
        Ok((record, token))
    }

    /// Everything that is shown this once.
    pub fn json(&self) -> Value {
        let (device, reach) = (&self.device, &self.reach);
        let fields = match &self.setup {
            Setup::Fields(fields) => Some(
                fields
                    .iter()
                    .map(|field| json!({"label": field.label, "value": field.value}))
                    .collect::<Vec<_>>(),
            ),
            Setup::Line(_) | Setup::Snippet(_) => None,
        };
        json!({
            "name": device.name.as_str(),
            "family": device.family.as_str(),
            "topic": device.topic,
            "client_id": device.client_id,
            "username": device.username,
            "password": self.password,
            "host": reach.host(),
            "port": reach.address.port(),
            "address": reach.address.to_string(),
            "tls": reach.is_tls(),
            "firmware_url": self.firmware,
            "setup": self.setup.to_string(),
            "fields": fields,
            "remarks": reach.remarks,
        })
    }
}

/// The failure for an error, as the command line tells it; `of_store` knows the words for those of
/// the registry.
pub fn failure(
    error: EnrolError,
    texts: &Texts,
    of_store: impl FnOnce(&StoreError) -> Failure,
) -> Failure {
    match error {
        EnrolError::Store(error) => of_store(&error),
        EnrolError::Unfit(failure) => failure,
        EnrolError::Mistakes(mistakes) => {
            let lines: Vec<String> = mistakes
                .iter()
                .map(|mistake| format!("{}: {}", mistake.line, mistake.what))
                .collect();
            Failure {
                exit: Exit::Usage,
                ..Failure::new(say!(texts, "enrol-mistakes", count = mistakes.len()))
            }
            .detail(lines.join("\n"))
            .next(say!(texts, "enrol-mistakes-next"))
        }
    }
}
