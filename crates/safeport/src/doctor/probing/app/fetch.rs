//! A page or a firmware file, fetched as devices fetch it.

use safeport_doctor::target::Target;
use safeport_doctor::{Cause, Strength};
use safeport_settings::Said;

use super::{captive, http_passed, is_captive, judge_status, no_answer, undialled};
use crate::doctor::probing::Told;
use crate::doctor::probing::http::{self, Answer};
use crate::doctor::probing::run::Run;
use crate::limits::DOCTOR_HTTP;
use crate::probe::both;

pub(in crate::doctor::probing) async fn look(run: &mut Run) -> Told {
    let Some(target) = run.target.clone() else {
        return Told::nothing(Said::default(), Said::default());
    };
    let path = http::path(&target);
    let is_image = is_image(path);
    // The first bytes tell what file it is.
    let range = if is_image {
        "Range: bytes=0-15\r\n"
    } else {
        ""
    };
    let tried = both!("GET {path}", "GET {path}");
    let mut stream = match run.dial().await {
        Ok(stream) => stream,
        Err(said) => return undialled(run, tried, Cause::HttpFailed, said),
    };
    let port = run.peer.map_or(80, |peer| peer.port());
    let host = http::host_header(&target, port);
    let request = http::get("GET", &host, path, range);
    let enough = |bytes: &[u8]| match is_image {
        true => {
            Answer::read(bytes).is_some_and(|answer| answer.body.len() >= 16)
                || Answer::is_whole(bytes)
        }
        false => Answer::is_whole(bytes) || bytes.len() > 32 << 10,
    };
    let got = run.ask(&mut stream, &request, DOCTOR_HTTP, enough).await;
    drop(stream);
    let Some(answer) = Answer::read(&got.bytes) else {
        let said = no_answer(run, &got, "GET");
        return Told::misplaced(tried, said, true);
    };
    if let Some(date) = answer.date() {
        run.note_date(date);
    }
    if is_captive(run, &answer).await {
        let saw = captive(run, &answer);
        return Told::failed(tried, saw);
    }
    let line = answer.described();
    // Who asks for no path in particular, and is told that there is nothing, has found the server.
    let is_anywhere = path == "/" && (300..=499).contains(&answer.status);
    if !is_anywhere && let Some(said) = judge_status(run, &answer, "GET") {
        return match answer.status {
            404 | 410 => Told::misplaced(tried, said, true),
            _ => Told::failed(tried, said),
        };
    }
    if is_image {
        return judge_image(run, tried, &target, &answer);
    }
    http_passed(run, "GET", &answer);
    Told::passed(tried, Said::same(line)).excluding(Said::new("HTTP itself", "HTTP 本身"))
}

fn is_image(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or(path);
    path.ends_with(".bin") || path.ends_with(".bin.gz")
}

/// Whether so many bytes fit into a flash chip of these devices: 32 MiB is the largest.
fn is_of_a_chip(length: &str) -> bool {
    let length = length.trim().parse::<u64>();
    length.is_ok_and(|length| length <= 32 << 20)
}

/// What a device makes of a file of firmware.
fn judge_image(run: &mut Run, tried: Said, target: &Target, answer: &Answer) -> Told {
    let line = answer.described();
    let first = answer.body.first().copied();
    let is_packed = first == Some(0x1F);
    let length = match answer
        .header("content-range")
        .and_then(|range| range.rsplit_once('/'))
    {
        Some((_, length)) => Some(length.to_owned()),
        None => answer.header("content-length").map(str::to_owned),
    };
    let encoding = answer.header("content-encoding").unwrap_or_default();
    let (cause, saw) = if answer.is_page() {
        (
            Cause::ImageNotValid,
            both!(
                "{line}: a web page and no firmware",
                "{line}：是网页，不是固件"
            ),
        )
    } else if !matches!(encoding, "" | "identity") {
        (
            Cause::ImageNotValid,
            both!(
                "{line}: packed on the way ({encoding}), which no device unpacks",
                "{line}：传输时被压缩（{encoding}），设备无法解压"
            ),
        )
    } else if length.is_none() {
        (
            Cause::HttpFailed,
            both!(
                "{line}: no Content-Length, without which devices do not write firmware",
                "{line}：没有 Content-Length，设备因此不会写入固件"
            ),
        )
    } else if let Some(length) = length.as_deref().filter(|length| !is_of_a_chip(length)) {
        (
            Cause::ImageTooLarge,
            both!(
                "{line}: {length} bytes, more than any flash chip of these devices holds",
                "{line}：{length} 字节，超过这类设备的任何闪存芯片"
            ),
        )
    } else if first != Some(0xE9) && !(is_packed && target.path.contains(".gz")) {
        let begin: Vec<String> = answer
            .body
            .iter()
            .take(4)
            .map(|b| format!("{b:02x}"))
            .collect();
        let begin = begin.join(" ");
        (
            Cause::ImageNotValid,
            both!(
                "{line}: begins with {begin}, where firmware of an ESP begins with e9",
                "{line}：以 {begin} 开头，而 ESP 固件以 e9 开头"
            ),
        )
    } else {
        http_passed(run, "GET", answer);
        let length = length.unwrap_or_default();
        return Told::passed(
            tried,
            both!(
                "{line}: firmware of {length} bytes",
                "{line}：固件，{length} 字节"
            ),
        )
        .excluding(Said::new("the firmware's address", "固件地址"));
    };
    run.clue(cause, Strength::Specific, saw.clone());
    Told::failed(tried, saw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_is_told_by_the_name_of_its_file() {
        assert!(is_image("/ota/tasmota32.bin"));
        assert!(is_image("/tasmota-minimal.bin.gz?v=1"));
        assert!(!is_image("/xiaozhi/ota/"));
    }
}
