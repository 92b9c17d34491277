//! Pretend boards of the other families: ESPEasy, xiaozhi, ESPHome, ESP-IDF.

mod bench;

use bench::{Bench, Files};
use safeport_sim::board::Fault;
use safeport_sim::board::espeasy::{self, EspEasyBoard};
use safeport_sim::board::esphome::{self, EspHomeBoard};
use safeport_sim::board::idf::{self, IdfBoard, Mode};
use safeport_sim::board::xiaozhi::{self, XiaozhiBoard};
use safeport_sim::image::{Behaviour, ImageChip, ImageFamily, ImageSpec, Spoilt, build};
use serde_json::{Value, json};
use std::time::Duration;

fn spec(family: ImageFamily, chip: ImageChip, version: &str) -> ImageSpec {
    let mut spec = ImageSpec::new(family, chip, version);
    spec.size = 40_000;
    spec
}

fn xiaozhi_image(version: &str) -> Vec<u8> {
    build(&spec(ImageFamily::Xiaozhi, ImageChip::ESP32S3, version))
}

fn answer(files: &Files, words: &Value) {
    files.put("/xiaozhi/ota/", words.to_string().as_bytes());
}

fn xiaozhi(files: &Files, version: &str) -> XiaozhiBoard {
    let mut board = XiaozhiBoard::new(files.url("/xiaozhi/ota/"), xiaozhi_image(version));
    board.time_scale = 0.02;
    board
}

async fn start_xiaozhi(board: XiaozhiBoard) -> Bench {
    Bench::start("box", |events, stop| xiaozhi::run(board, events, stop)).await
}

fn websocket() -> Value {
    json!({"url": "ws://127.0.0.1:9/xiaozhi/v1/", "token": "t", "version": 1})
}

#[tokio::test]
async fn a_check_carries_the_headers_in_their_order_and_a_body_that_tells_the_device() {
    let files = Files::serve();
    answer(
        &files,
        &json!({"firmware": {"version": "2.4.0", "url": ""}, "websocket": websocket()}),
    );
    let mut bench = start_xiaozhi(xiaozhi(&files, "2.4.0")).await;
    let told = bench.until("protocol", |_| true).await;
    assert_eq!(told.text("transport"), "websocket");
    let asked = &files.asked()[0];
    let names: Vec<_> = asked
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with('{'))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names,
        [
            "Host",
            "Accept-Language",
            "Activation-Version",
            "Client-Id",
            "Connection",
            "Content-Length",
            "Content-Type",
            "Device-Id",
            "User-Agent"
        ]
    );
    assert!(asked.contains("\r\nDevice-Id: a2:76:4e:00:00:01\r\n"));
    assert!(asked.contains("\r\nUser-Agent: bread-compact-wifi/2.4.0\r\n"));
    let body: Value =
        serde_json::from_str(&asked[asked.find('{').expect("a body")..]).expect("JSON");
    assert_eq!(body["application"]["version"], "2.4.0");
    assert_eq!(
        body["application"]["elf_sha256"].as_str().map(str::len),
        Some(64)
    );
    assert_eq!(body["ota"]["label"], "ota_0");
    bench.stop().await;
}

#[tokio::test]
async fn an_upgrade_is_pending_until_the_next_good_check_and_offers_in_that_check_fail() {
    let files = Files::serve();
    files.put("/fw/xiaozhi.bin", &xiaozhi_image("2.4.1"));
    let firmware = |version: &str| {
        json!({
            "firmware": {"version": version, "url": files.url("/fw/xiaozhi.bin")},
            "websocket": websocket(),
        })
    };
    answer(&files, &firmware("2.4.1"));
    let mut bench = start_xiaozhi(xiaozhi(&files, "2.4.0")).await;
    bench
        .until("installed", |event| event.text("slot") == "ota_1")
        .await;
    // The first check of the new build is offered another one at once.
    answer(&files, &firmware("2.4.2"));
    let booted = bench.until("booted", |_| true).await;
    assert_eq!(
        (booted.text("version"), &booted.fields["pending"]),
        ("2.4.1", &json!(true))
    );
    let failed = bench.until("failed", |_| true).await;
    assert!(failed.text("why").contains("not confirmed"), "{failed}");
    bench
        .until("confirmed", |event| event.text("version") == "2.4.1")
        .await;
    let download = files
        .asked()
        .into_iter()
        .find(|head| head.starts_with("GET /fw/"));
    let download = download.expect("a download");
    assert!(
        !download.contains("Device-Id") && !download.contains("Range"),
        "{download}"
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_build_that_never_gets_a_good_answer_is_rolled_back_by_the_next_reset() {
    let files = Files::serve();
    let mut bad = spec(ImageFamily::Xiaozhi, ImageChip::ESP32S3, "2.4.1");
    bad.behaviour = Behaviour::Unconfirmed;
    files.put("/fw.bin", &build(&bad));
    answer(
        &files,
        &json!({"firmware": {"version": "2.4.1", "url": files.url("/fw.bin")}}),
    );
    let mut board = xiaozhi(&files, "2.4.0");
    board.faults = vec!["power@time:40".parse::<Fault>().expect("a fault")];
    let mut bench = start_xiaozhi(board).await;
    bench
        .until("check_failed", |event| event.fields["code"] == 0x801a)
        .await;
    let back = bench.until("rolled_back", |_| true).await;
    assert_eq!((back.text("from"), back.text("to")), ("ota_1", "ota_0"));
    let booted = bench.until("booted", |_| true).await;
    assert_eq!(booted.text("version"), "2.4.0");
    bench.stop().await;
}

#[tokio::test]
async fn answers_that_the_firmware_cannot_stand_reboot_it_or_fail_the_check() {
    let long_key = json!({"mqtt": {"endpoint": "127.0.0.1:9", "subscribe_topics": "x"}});
    let letters = json!({"firmware": {"version": "v2.5", "url": "http://127.0.0.1/"}});
    for (version, words) in [
        ("2.4.0", &long_key),
        ("2.4.0", &letters),
        ("1.6.2", &letters),
    ] {
        let files = Files::serve();
        answer(&files, words);
        let mut bench = start_xiaozhi(xiaozhi(&files, version)).await;
        bench.until("aborted", |_| true).await;
        let booted = bench.until("booted", |_| true).await;
        assert_eq!(booted.fields["boot"], 2);
        bench.stop().await;
    }
    let files = Files::serve();
    answer(&files, &json!({"websocket": websocket()}));
    let mut bench = start_xiaozhi(xiaozhi(&files, "1.5.6")).await;
    let failed = bench.until("check_failed", |_| true).await;
    assert_eq!(failed.fields["retry_in"], 10);
    let failed = bench.until("check_failed", |_| true).await;
    assert_eq!(failed.fields["retry_in"], 20);
    assert!(files.asked()[0].contains("\r\nOta-Version: 2\r\n"));
    bench.stop().await;
}

#[tokio::test]
async fn activation_polls_every_three_seconds_and_checks_again_when_it_is_done() {
    let files = Files::serve();
    let firmware = json!({"version": "2.4.0", "url": ""});
    answer(
        &files,
        &json!({
            "firmware": firmware,
            "websocket": websocket(),
            "activation": {"code": "482913", "message": "home\n482913", "challenge": "c"},
        }),
    );
    files.put_raw("/xiaozhi/ota/activate", 202, "Content-Length: 0", b"");
    let mut bench = start_xiaozhi(xiaozhi(&files, "2.4.0")).await;
    let shown = bench.until("activation", |_| true).await;
    assert_eq!(shown.text("code"), "482913");
    bench
        .until("activating", |event| event.fields["status"] == 202)
        .await;
    files.put_raw("/xiaozhi/ota/activate", 200, "Content-Length: 0", b"");
    bench.until("activated", |_| true).await;
    answer(
        &files,
        &json!({"firmware": firmware, "websocket": websocket()}),
    );
    bench.until("ready", |_| true).await;
    let asked = files.asked();
    let activate = asked
        .iter()
        .find(|head| head.contains("/activate"))
        .expect("a call");
    assert!(activate.ends_with("{}"), "{activate}");
    bench.stop().await;
}

#[tokio::test]
async fn a_redirect_or_a_page_in_place_of_the_answer_is_the_number_on_the_screen() {
    for (status, head, body, code) in [
        (
            301,
            "Location: https://x/\r\nContent-Length: 0",
            &b""[..],
            301,
        ),
        (502, "Content-Length: 0", b"", 502),
        (200, "Content-Length: 6", b"<html>", 264),
    ] {
        let files = Files::serve();
        files.put_raw("/xiaozhi/ota/", status, head, body);
        let mut bench = start_xiaozhi(xiaozhi(&files, "2.4.0")).await;
        let failed = bench.until("check_failed", |_| true).await;
        assert_eq!(failed.fields["code"], code);
        bench.stop().await;
    }
}

#[tokio::test]
async fn espeasy_answers_200_to_a_refused_upload_and_reboots_after_a_good_one() {
    let image = |version: &str| spec(ImageFamily::EspEasy, ImageChip::ESP32, version);
    let mut board = EspEasyBoard::new("node-1", "", build(&image("20260101")));
    board.time_scale = 0.02;
    let mut bench = Bench::start("node-1", |events, stop| espeasy::run(board, events, stop)).await;
    bench.until("booted", |_| true).await;
    let page: Value = serde_json::from_str(&bench.get("/json").await).expect("JSON");
    let file = page["System"]["Binary Filename"]
        .as_str()
        .unwrap_or_default();
    assert_eq!(file, "ESP_Easy_mega_20260101_normal_ESP32_4M316k.bin");
    assert_eq!(page["WiFi"]["STA MAC"], "A2:76:4E:00:00:01");

    let mut wrong = image("20260601");
    wrong.spoilt = Some(Spoilt::Html);
    let answer = bench
        .upload("/update", "firmware", "x.bin", &build(&wrong))
        .await;
    assert_eq!(answer, "Update error: Wrong Magic Byte");
    let other = build(&spec(ImageFamily::EspEasy, ImageChip::ESP32C3, "20260601"));
    let answer = bench.upload("/update", "firmware", "x.bin", &other).await;
    assert_eq!(answer, "Update error: Could Not Activate The Firmware");

    let answer = bench
        .upload("/update", "firmware", "x.bin", &build(&image("20260601")))
        .await;
    assert_eq!(answer, "Update Success! Rebooting...");
    let booted = bench.until("booted", |_| true).await;
    assert_eq!(
        (booted.text("version"), booted.text("slot")),
        ("20260601", "app1")
    );
    let info: Value = serde_json::from_str(&bench.get("/sysinfo_json").await).expect("JSON");
    assert_eq!(info["boot"]["counter"], 2);
    bench.stop().await;
}

#[tokio::test]
async fn espeasy_settings_go_out_by_download_and_come_back_by_upload() {
    let image = build(&spec(ImageFamily::EspEasy, ImageChip::ESP32, "20260101"));
    let mut board = EspEasyBoard::new("node-1", "", image);
    board.time_scale = 0.02;
    let mut bench = Bench::start("node-1", |events, stop| espeasy::run(board, events, stop)).await;
    bench.until("booted", |_| true).await;
    let saved = bench::bytes(bench.web_port, "GET /download HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = bench
        .upload("/upload", "file", "config.dat", b"nonsense")
        .await;
    assert!(answer.contains("invalid"), "{answer}");
    let answer = bench.upload("/upload", "file", "config.dat", &saved).await;
    assert!(answer.contains("Upload OK"), "{answer}");
    let restored = bench.until("restored", |_| true).await;
    assert_eq!(restored.fields["settings"]["name"], "node-1");
    bench.stop().await;
}

#[tokio::test]
async fn esphome_installs_what_differs_when_its_md5_is_right() {
    let image = |version: &str| build(&spec(ImageFamily::EspHome, ImageChip::ESP32C3, version));
    let files = Files::serve();
    let new = image("2026.1");
    files.put("/d/firmware.ota.bin", &new);
    let manifest = |md5: &str| {
        json!({
            "name": "living-room",
            "version": "2026.1",
            "builds": [
                {"chipFamily": "ESP32", "ota": {"md5": "0", "path": "no.bin"}},
                {"chipFamily": "ESP32-C3", "ota": {"md5": md5, "path": "firmware.ota.bin"}},
            ],
        })
        .to_string()
    };
    files.put(
        "/d/manifest.json",
        manifest("00000000000000000000000000000000").as_bytes(),
    );
    let mut board = EspHomeBoard::new("living-room", image("2026.2"));
    board.manifest = Some(files.url("/d/manifest.json"));
    board.every = Duration::from_millis(300);
    board.time_scale = 0.02;
    let mut bench = Bench::start("living-room", |events, stop| {
        esphome::run(board, events, stop)
    })
    .await;
    let failed = bench
        .until("failed", |event| event.text("what") == "upgrade")
        .await;
    assert!(failed.text("why").contains("MD5"), "{failed}");
    let downloaded = bench.seen.iter().find(|event| event.name == "downloaded");
    let md5 = downloaded.expect("a download").text("md5").to_owned();
    files.put("/d/manifest.json", manifest(&md5).as_bytes());
    // Older by its number, and an update all the same.
    let booted = bench
        .until("booted", |event| event.text("version") == "2026.1")
        .await;
    assert_eq!(booted.text("slot"), "ota_1");
    bench.until("confirmed", |_| true).await;
    bench.stop().await;
}

#[tokio::test]
async fn idf_downloads_whole_in_ranges_one_past_the_end_and_goes_on_after_a_power_cut() {
    let image = |version: &str| build(&spec(ImageFamily::Idf, ImageChip::ESP32C3, version));
    let new = image("1.1.0");
    let length = new.len();
    for mode in [Mode::Plain, Mode::Partial(15_000), Mode::Resume] {
        let files = Files::serve();
        files.put("/app.bin", &new);
        let mut board = IdfBoard::new(files.url("/app.bin"), image("1.0.0"));
        board.mode = mode;
        board.every = Duration::from_millis(200);
        board.time_scale = 0.02;
        if mode == Mode::Resume {
            board.faults = vec!["power@download:50%".parse::<Fault>().expect("a fault")];
        }
        let mut bench = Bench::start("idf", |events, stop| idf::run(board, events, stop)).await;
        bench
            .until("booted", |event| event.text("version") == "1.1.0")
            .await;
        bench.until("confirmed", |_| true).await;
        bench.until("up_to_date", |_| true).await;
        let ranges: Vec<String> = files
            .asked()
            .iter()
            .flat_map(|head| head.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|line| line.strip_prefix("Range: bytes=").map(str::to_owned))
            .collect();
        match mode {
            Mode::Plain => assert!(ranges.is_empty(), "{ranges:?}"),
            Mode::Partial(_) => assert_eq!(
                ranges[..3],
                [
                    "0-14999".into(),
                    "15000-29999".into(),
                    format!("30000-{length}")
                ]
            ),
            Mode::Resume => {
                assert_eq!(ranges[0], "0-");
                let from: usize = ranges[1].trim_end_matches('-').parse().expect("an offset");
                assert!(from >= length / 2 && from < length, "{ranges:?}");
            }
        }
        bench.stop().await;
    }
}
