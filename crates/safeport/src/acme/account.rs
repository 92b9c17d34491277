//! The account at an authority: made once for each directory, and kept in `account.json`.

use std::collections::BTreeMap;

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};

use super::client::AuthorityClient;
use super::config::{AcmeConfig, base64url};
use super::shelf::{ACCOUNT, Shelf};
use super::trouble::{Asking, Trouble};

/// Accounts by directory.
type Accounts = BTreeMap<String, Kept>;

#[derive(Serialize, Deserialize)]
struct Kept {
    contact: Option<String>,
    credentials: serde_json::Value,
}

/// The account for the authority of `config`; made, and written down, if there is none.
pub(super) async fn open(
    shelf: &Shelf,
    config: &AcmeConfig,
    client: &AuthorityClient,
) -> Result<Account, Trouble> {
    match existing(shelf, config, client).await? {
        Some(account) => Ok(account),
        None => create(shelf, config, client).await,
    }
}

/// The account, if there is one.
pub(super) async fn existing(
    shelf: &Shelf,
    config: &AcmeConfig,
    client: &AuthorityClient,
) -> Result<Option<Account>, Trouble> {
    let mut accounts = read(shelf)?;
    let Some(kept) = accounts.get_mut(&config.directory) else {
        return Ok(None);
    };
    let path = shelf.path(ACCOUNT);
    let credentials: AccountCredentials = serde_json::from_value(kept.credentials.clone())
        .map_err(|error| Trouble::broken_file(&path, &error))?;
    let builder = Account::builder_with_http(Box::new(client.clone()));
    let opened = builder.from_credentials(credentials).await;
    let account = opened.map_err(|error| config.trouble(Asking::Directory, &error, client))?;
    if kept.contact != config.contact {
        let contact = mailto(config);
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        match account.update_contacts(&contact).await {
            Ok(()) => {
                kept.contact.clone_from(&config.contact);
                write(shelf, &accounts)?;
            }
            Err(error) => {
                let trouble = config.trouble(Asking::Account, &error, client);
                if !trouble.is_unknown_account() {
                    return Err(trouble);
                }
                // Whoever asks for a certificate with it learns the same, and makes another.
            }
        }
    }
    Ok(Some(account))
}

/// Forgets the account: the authority does not know it any more.
pub(super) fn forget(shelf: &Shelf, config: &AcmeConfig) -> Result<(), Trouble> {
    let mut accounts = read(shelf)?;
    accounts.remove(&config.directory);
    write(shelf, &accounts)
}

async fn create(
    shelf: &Shelf,
    config: &AcmeConfig,
    client: &AuthorityClient,
) -> Result<Account, Trouble> {
    let eab = match &config.eab {
        None => None,
        Some(eab) => {
            let key = base64url(&eab.key).ok_or_else(Trouble::eab_key)?;
            Some(ExternalAccountKey::new(eab.key_id.clone(), &key))
        }
    };
    let contact = mailto(config);
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let wanted = NewAccount {
        contact: &contact,
        // There are no orders before `acme.accept_terms` is set.
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let builder = Account::builder_with_http(Box::new(client.clone()));
    let made = builder
        .create(&wanted, config.directory.clone(), eab.as_ref())
        .await;
    let (account, credentials) =
        made.map_err(|error| config.trouble(Asking::Account, &error, client))?;
    let path = shelf.path(ACCOUNT);
    let mut accounts = read(shelf)?;
    let kept = Kept {
        contact: config.contact.clone(),
        credentials: serde_json::to_value(&credentials)
            .map_err(|error| Trouble::cannot_write(&path, &error))?,
    };
    accounts.insert(config.directory.clone(), kept);
    write(shelf, &accounts)?;
    tracing::info!(
        target: "safeport::acme",
        "a new account at {}: {}", config.directory, account.id()
    );
    Ok(account)
}

fn mailto(config: &AcmeConfig) -> Option<String> {
    let contact = config.contact.as_ref()?;
    Some(format!("mailto:{contact}"))
}

fn read(shelf: &Shelf) -> Result<Accounts, Trouble> {
    Ok(shelf.read_json(ACCOUNT)?.unwrap_or_default())
}

fn write(shelf: &Shelf, accounts: &Accounts) -> Result<(), Trouble> {
    let text = serde_json::to_string_pretty(accounts)
        .map_err(|error| Trouble::cannot_write(&shelf.path(ACCOUNT), &error))?;
    shelf.write_secret(ACCOUNT, &(text + "\n"))
}
