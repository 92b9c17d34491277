//! The pages of ESPEasy: espeasy.md §5 and §6.

use std::io::Read;

use safeport_fleet::espeasy;
use safeport_fleet::heard::Heard;

use super::{Pages, SettingsFile, limits, page};
use crate::serve::access::unix_now;
use crate::serve::upgrades::WebError;

/// `/json`.
pub(super) fn look(pages: &Pages<'_>) -> Result<Heard, WebError> {
    let answer = pages.get("/json", limits::SETTINGS_BYTES, limits::ANSWER)?;
    espeasy::json(&answer.body, unix_now()).ok_or_else(|| {
        WebError::Refused(format!(
            "{} answers /json with what no ESPEasy says: {}{}",
            pages.address,
            page::words(&answer.body),
            pages.said_itself(&answer)
        ))
    })
}

/// `/download`: `config.dat`, or a tar of it with rules and what belongs to it.
pub(super) fn settings(pages: &Pages<'_>) -> Result<SettingsFile, WebError> {
    let answer = pages.get("/download", limits::SETTINGS_BYTES, limits::SETTINGS_ANSWER)?;
    if answer.is_cut {
        return Err(WebError::Unreachable(format!(
            "{} hung up within its settings file",
            pages.address
        )));
    }
    Ok(SettingsFile {
        name: page::file_name(answer.disposition.as_deref())
            .unwrap_or_else(|| "config.dat".to_owned()),
        bytes: answer.body,
    })
}

/// `/upload`, and a restart: until then the node runs with the old ones, and may write them.
pub(super) fn restore(pages: &Pages<'_>, name: &str, bytes: &[u8]) -> Result<String, WebError> {
    // The node tells what a file is by its name.
    let name = if name.ends_with(".tar") {
        name
    } else {
        "config.dat"
    };
    let (file, length) = (&mut &bytes[..], bytes.len() as u64);
    let answer = pages.post("/upload", "datafile", name, (file, length), &mut |_| {})?;
    let said = page::words(&answer.body);
    if !said.contains("Upload OK!") {
        return Err(WebError::Refused(format!(
            "the node refused the settings: {said}"
        )));
    }
    match pages.get("/control?cmd=reboot", limits::PAGE_BYTES, limits::ANSWER) {
        Ok(_) => Ok(said),
        // Some restart without a last word.
        Err(WebError::Unreachable(_)) => Ok(said),
        Err(WebError::Refused(why)) => Ok(format!(
            "{said} It has to be restarted by hand, since it does not take the command: {why}"
        )),
    }
}

/// `/update`. The status is 200 whatever happens; the text tells.
pub(super) fn install(
    pages: &Pages<'_>,
    file: &mut dyn Read,
    length: u64,
    name: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<String, WebError> {
    let answer = pages.post("/update", "firmware", name, (file, length), progress)?;
    let said = page::words(&answer.body);
    if said.contains("Update Success! Rebooting...") {
        return Ok(said);
    }
    if let Some((_, why)) = said.split_once("Update error:") {
        return Err(WebError::Refused(format!(
            "the node refused the firmware: {}",
            why.trim()
        )));
    }
    Err(WebError::Refused(format!(
        "the node did not say that the firmware was taken: {said:?}"
    )))
}
