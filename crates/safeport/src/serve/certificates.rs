//! Keeps the server's certificates good while the server runs: they end after some 15 months, and
//! the machine may get another name or address.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use safeport_net::PrivateCa;
use tokio::sync::Notify;

/// Sees to the certificates of `ca` after every `interval`, and whenever it is woken, for the
/// `names` that this machine has and devices are told by then; `done` is called after each time. Handshakes that follow get the new ones; the keys, which devices pin, stay. Ends only
/// with the runtime.
pub async fn renew(
    mut ca: PrivateCa,
    interval: Duration,
    wake: Arc<Notify>,
    names: impl Fn() -> Vec<String>,
    done: impl Fn(),
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = wake.notified() => {}
        }
        let wanted = names();
        // Signs and writes files: not for a thread that serves HTTP.
        let renewed = tokio::task::spawn_blocking(move || {
            let renewed = ca.ensure_leaf(&wanted, SystemTime::now());
            (ca, renewed)
        });
        let Ok((returned, renewed)) = renewed.await else {
            // It panicked and took the authority along: the end of this task stops the server.
            return;
        };
        ca = returned;
        if let Err(error) = renewed {
            // The certificates are renewed a month before their end, so there are some thirty days
            // in which to read this.
            tracing::error!(
                target: "safeport::serve",
                "the certificates could not be renewed, the old ones stay in use: {error}"
            );
        }
        done();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn a_machine_that_gets_another_name_gets_other_certificates_with_the_same_keys() {
        let folder =
            std::env::temp_dir().join(format!("safeport-certificates-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let open = || PrivateCa::open_or_create(&folder, SystemTime::now()).expect("an authority");
        let read = |name: &str| std::fs::read(folder.join(name)).expect("a file");
        let mut ca = open();
        ca.ensure_leaf(&["old.lan".to_owned()], SystemTime::now())
            .expect("certificates");
        let files = ["server-rsa.pem", "server-p256.pem"];
        let (before, fingerprint) = (files.map(read), ca.tasmota_fingerprint());

        // A name that cannot stand in a certificate is logged and outlived.
        let asked = AtomicBool::new(false);
        let names = || match asked.swap(true, Ordering::Relaxed) {
            false => vec![String::new()],
            true => vec!["new.lan".to_owned()],
        };
        let renewing = renew(ca, Duration::from_millis(20), Arc::default(), names, || ());
        tokio::select! {
            () = renewing => panic!("ended by itself"),
            () = async {
                while files.map(read) == before {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            } => {}
            () = tokio::time::sleep(Duration::from_secs(20)) => panic!("not renewed"),
        }
        assert_eq!(open().tasmota_fingerprint(), fingerprint);
        let _ = std::fs::remove_dir_all(&folder);
    }
}
