//! The pages of Tasmota: tasmota.md §3.

use std::io::Read;
use std::thread::sleep;
use std::time::Instant;

use safeport_fleet::heard::Heard;
use safeport_fleet::tasmota;
use serde_json::Value;

use super::{Pages, SettingsFile, limits, page};
use crate::serve::access::unix_now;
use crate::serve::upgrades::WebError;

/// `/cm?cmnd=…`: one JSON object.
pub(super) fn command(pages: &Pages<'_>, text: &str) -> Result<String, WebError> {
    if text.len() > limits::COMMAND_BYTES {
        return Err(WebError::Refused(format!(
            "a command has at most {} bytes",
            limits::COMMAND_BYTES
        )));
    }
    let path = format!("/cm?cmnd={}", page::encoded(text));
    let answer = pages.get(&path, limits::PAGE_BYTES, limits::ANSWER)?;
    if answer.is_cut {
        return Err(WebError::Unreachable(format!(
            "{} hung up within its answer",
            pages.address
        )));
    }
    let said: Value = serde_json::from_slice(&answer.body).map_err(|_| {
        WebError::Refused(format!(
            "{} answers a command with what is not JSON: {}{}",
            pages.address,
            page::words(&answer.body),
            pages.said_itself(&answer)
        ))
    })?;
    // Some versions say so with status 200.
    if let Some(warning) = said.get("WARNING").and_then(Value::as_str) {
        return Err(WebError::Refused(format!(
            "{}: {}; set the password of its pages with `safeport device set NAME --web-password-stdin`",
            pages.address,
            page::words(warning.as_bytes())
        )));
    }
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

/// `Status 0`.
pub(super) fn look(pages: &Pages<'_>) -> Result<Heard, WebError> {
    let said = command(pages, "Status 0")?;
    tasmota::status(said.as_bytes(), unix_now()).ok_or_else(|| {
        WebError::Refused(format!(
            "{} answers `Status 0` with no status: {}",
            pages.address,
            page::words(said.as_bytes())
        ))
    })
}

/// `/dl`.
pub(super) fn settings(pages: &Pages<'_>) -> Result<SettingsFile, WebError> {
    let answer = pages.get("/dl", limits::SETTINGS_BYTES, limits::SETTINGS_ANSWER)?;
    if answer.is_cut {
        return Err(WebError::Unreachable(format!(
            "{} hung up within its settings file",
            pages.address
        )));
    }
    Ok(SettingsFile {
        name: page::file_name(answer.disposition.as_deref())
            .unwrap_or_else(|| "settings.dmp".to_owned()),
        bytes: answer.body,
    })
}

/// `/rs`, then `/u2`: without the first the file would be taken for firmware.
pub(super) fn restore(pages: &Pages<'_>, name: &str, bytes: &[u8]) -> Result<String, WebError> {
    pages.get("/rs", limits::PAGE_BYTES, limits::ANSWER)?;
    send(
        pages,
        &mut &bytes[..],
        bytes.len() as u64,
        name,
        &mut |_| {},
    )
}

/// `/u2`. The main image goes into boards with two by their safeboot, so that has to run; safeboot
/// itself is replaced while the main image runs.
pub(super) fn install(
    pages: &Pages<'_>,
    file: &mut dyn Read,
    length: u64,
    name: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<String, WebError> {
    let wanted = if name.contains("safeboot") {
        "ota"
    } else {
        "fct"
    };
    switch(pages, wanted)?;
    pages.get("/up", limits::PAGE_BYTES, limits::ANSWER)?;
    send(pages, file, length, name, progress)
}

/// `/u4`: asks until the wanted image runs; boards with one answer that there is nothing to switch.
fn switch(pages: &Pages<'_>, to: &str) -> Result<(), WebError> {
    let path = format!("/u4?u4={to}&api=");
    let deadline = Instant::now() + limits::SWITCH;
    let mut has_answered = false;
    loop {
        match pages.get_any(&path, limits::PAGE_BYTES, limits::ANSWER) {
            Ok(answer) if answer.status == 404 => return Ok(()),
            Ok(answer) => {
                pages.judge(&answer)?;
                // Older versions answer with a page.
                if answer.body.trim_ascii() != b"false" {
                    return Ok(());
                }
                has_answered = true;
            }
            Err(WebError::Unreachable(_)) if has_answered => {}
            Err(error) => return Err(error),
        }
        if Instant::now() >= deadline {
            return Err(WebError::Unreachable(format!(
                "{} did not come back with its other image within {} s; look at the device",
                pages.address,
                limits::SWITCH.as_secs()
            )));
        }
        sleep(limits::SWITCH_PAUSE);
    }
}

fn send(
    pages: &Pages<'_>,
    file: &mut dyn Read,
    length: u64,
    name: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<String, WebError> {
    let path = format!("/u2?fsz={length}");
    let answer = pages.post(&path, "u2", name, (file, length), progress)?;
    verdict(&answer.body)
}

/// What the page behind an upload says. It is made for people, in the language that the firmware
/// was built in: English is understood, and the colours that are the same in all. What is not
/// understood counts as done, since what the device reports after its restart decides.
fn verdict(body: &[u8]) -> Result<String, WebError> {
    let said = page::words(body);
    let page = String::from_utf8_lossy(body).to_lowercase();
    let has = |marks: &[&str]| marks.iter().any(|mark| page.contains(mark));
    if has(&["successful", "#008000"]) && !has(&["failed"]) {
        return Ok(said);
    }
    if let Some((number, text)) = ERRORS.iter().find(|(number, text)| {
        let numbered = format!("error {number}:");
        let coded = format!("error code {number} ");
        page.contains(&numbered) || format!("{said} ").contains(&coded) || page.contains(text)
    }) {
        return Err(WebError::Refused(format!(
            "the device refused the file with error {number}, {text}: {said}"
        )));
    }
    if has(&["failed", "#ff0000", "#ff5661"]) {
        return Err(WebError::Refused(format!(
            "the device refused the file: {said}"
        )));
    }
    Ok(said)
}

/// The errors behind the numbers, as the English firmware words them in lower case.
const ERRORS: [(u8, &str); 9] = [
    (1, "no file selected"),
    (2, "not enough space"),
    (3, "magic byte is not 0xe9"),
    (4, "program flash size is larger"),
    (5, "upload buffer miscompare"),
    (6, "upload failed. enable logging 3"),
    (7, "upload aborted"),
    (8, "file invalid"),
    (9, "file too large"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(page: &str) -> String {
        match verdict(page.as_bytes()) {
            Err(WebError::Refused(why)) => why,
            other => panic!("{page}: {other:?}"),
        }
    }

    #[test]
    fn the_page_behind_an_upload_is_understood() {
        let good = "<div><b>Upload <font color='#008000'>Successful</font></b></div>Device will \
                    restart in a few seconds";
        assert_eq!(
            verdict(good.as_bytes()).as_deref(),
            Ok("Upload Successful Device will restart in a few seconds")
        );
        for (number, text) in ERRORS {
            let page = format!("<b>Upload <font color='#ff5661'>Failed</font></b><br>{text}");
            assert!(
                refused(&page).contains(&format!("error {number}")),
                "{page}"
            );
            let page = format!("<b>Upload Failed</b><br>Upload error code {number}");
            assert!(
                refused(&page).contains(&format!("error {number}")),
                "{page}"
            );
        }
        let page = "Upload <font color='#ff0000'>Failed</font> Upload error 3: Magic byte";
        assert!(refused(page).contains("error 3"));
    }

    #[test]
    fn pages_in_other_languages_are_told_by_their_colours() {
        let good = "<b>Hochladen <font color='#008000'>erfolgreich</font></b>";
        assert_eq!(
            verdict(good.as_bytes()).as_deref(),
            Ok("Hochladen erfolgreich")
        );
        let bad = "<b>Hochladen <font color='#ff5661'>fehlgeschlagen</font></b> Zu wenig Platz";
        assert!(refused(bad).contains("Zu wenig Platz"));
        // The device will tell by itself.
        assert_eq!(verdict(b"?").as_deref(), Ok("?"));
    }
}
