//! Pretend boards against a file server made of a list: what they ask for, check, boot and tell.

mod bench;

use bench::{Bench, Files, http};
use safeport_sim::board::Fault;
use safeport_sim::board::tasmota::{self, Layout, TasmotaBoard};
use safeport_sim::image::{Behaviour, ImageChip, ImageFamily, ImageSpec, Spoilt, Variant, build};
use safeport_sim::tasmota::{MacAddress, PlugOptions};

fn image(chip: ImageChip, version: &str, variant: Variant) -> ImageSpec {
    let mut spec = ImageSpec::new(ImageFamily::Tasmota, chip, version);
    spec.variant = variant;
    spec.size = 40_000;
    spec
}

fn main_image(version: &str) -> Vec<u8> {
    build(&image(ImageChip::ESP32C3, version, Variant::Main))
}

fn safeboot_image(version: &str) -> Vec<u8> {
    build(&image(ImageChip::ESP32C3, version, Variant::Safeboot))
}

/// A board with 15.0.1 and a safeboot 14.0.0, no broker, fifty times as fast.
fn board() -> TasmotaBoard {
    let mut plug = PlugOptions::new(MacAddress::pretend(1), "", 1883);
    plug.topic = Some("plug-1".into());
    let mut board = TasmotaBoard::new(plug, main_image("15.0.1"), safeboot_image("14.0.0"));
    board.time_scale = 0.02;
    board
}

async fn start(board: TasmotaBoard) -> Bench {
    Bench::start("plug-1", |events, stop| tasmota::run(board, events, stop)).await
}

impl Bench {
    async fn command(&mut self, command: &str) -> String {
        let path = format!("/cm?cmnd={}", command.replace(' ', "%20"));
        self.get(&path).await
    }
}

#[tokio::test]
async fn upgrade_1_goes_over_the_safeboot_which_asks_and_names_itself() {
    let files = Files::serve();
    let new = main_image("15.1.0");
    files.put("/ota/t/tasmota32c3.bin", &new);
    let mut bench = start(board()).await;
    bench
        .until("booted", |event| event.text("slot") == "main")
        .await;
    let url = files.url("/ota/t/tasmota32c3.bin");
    assert!(bench.command(&format!("OtaUrl {url}")).await.contains(&url));
    let answer = bench.command("Upgrade 1").await;
    assert_eq!(
        answer,
        format!("{{\"Upgrade\":\"Version 15.0.1 from {url}\"}}")
    );
    let safeboot = bench.until("booted", |_| true).await;
    assert_eq!(safeboot.text("slot"), "safeboot");
    assert_eq!(safeboot.text("version"), "14.0.0");
    bench.until("installed", |_| true).await;
    let booted = bench.until("booted", |_| true).await;
    assert_eq!(
        (booted.text("slot"), booted.text("version")),
        ("main", "15.1.0")
    );
    assert_eq!(booted.fields["boot"], 3);

    let asked = files.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let head = &asked[0];
    assert!(head.starts_with("GET /ota/t/tasmota32c3.bin HTTP/1.0\r\nHost: 127.0.0.1:"));
    assert!(head.contains("\r\nUser-Agent: ESP32-http-Update\r\n"));
    assert!(
        head.contains("\r\nx-ESP32-version: 14.0.0(release-safeboot)\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nx-ESP32-STA-MAC: A2:76:4E:00:00:01\r\n"));
    assert!(head.contains("\r\nx-ESP32-free-space: 2949120\r\n"));
    bench.stop().await;
}

#[tokio::test]
async fn upgrade_2_fetches_the_derived_name_and_stays_in_the_new_safeboot_until_told() {
    let files = Files::serve();
    files.put("/ota/t/tasmota32c3-safeboot.bin", &safeboot_image("15.1.0"));
    let mut board = board();
    board.plug.ota_url = files.url("/ota/t/tasmota32c3-DE.bin");
    let mut bench = start(board).await;
    bench.until("booted", |_| true).await;
    assert_eq!(
        bench.command("Upgrade 2").await,
        "{\"Upgrade\":\"Safeboot\"}"
    );
    let booted = bench.until("booted", |_| true).await;
    assert_eq!(
        (booted.text("slot"), booted.text("version")),
        ("safeboot", "15.1.0")
    );
    let asked = files.asked();
    assert!(asked[0].contains("x-ESP32-version: 15.0.1(release-tasmota32c3)"));
    assert!(asked[0].contains("x-ESP32-free-space: 851968"));
    // There, the command is not offered; back it goes by the switch.
    assert!(
        bench
            .command("Upgrade 2")
            .await
            .contains("1 or >15.1.0 to upgrade")
    );
    assert_eq!(bench.get("/u4?u4=ota&api=").await, "false");
    let booted = bench.until("booted", |_| true).await;
    assert_eq!(
        (booted.text("slot"), booted.text("version")),
        ("main", "15.0.1")
    );
    assert_eq!(bench.get("/u4?u4=ota&api=").await, "true");
    bench.stop().await;
}

#[tokio::test]
async fn a_power_cut_in_the_download_leaves_a_board_in_safeboot_until_upgrade_is_pressed_again() {
    let files = Files::serve();
    files.put("/f/tasmota32c3.bin", &main_image("15.1.0"));
    let mut board = board();
    board.plug.ota_url = files.url("/f/tasmota32c3.bin");
    board.faults = vec!["power@download:50%".parse::<Fault>().expect("a fault")];
    let mut bench = start(board).await;
    bench.until("booted", |_| true).await;
    bench.command("Upgrade 1").await;
    bench.until("power_cut", |_| true).await;
    let booted = bench.until("booted", |_| true).await;
    assert_eq!(booted.text("slot"), "safeboot");
    assert!(
        bench
            .command("Status 2")
            .await
            .contains("14.0.0(release-safeboot)")
    );
    assert_eq!(files.asked().len(), 1, "nobody goes on by himself");
    bench.command("Upgrade 1").await;
    let booted = bench
        .until("booted", |event| event.text("slot") == "main")
        .await;
    assert_eq!(booted.text("version"), "15.1.0");
    bench.stop().await;
}

#[tokio::test]
async fn what_is_not_an_image_for_this_board_is_not_booted_and_named_in_the_firmwares_words() {
    let other_chip = build(&image(ImageChip::ESP32S3, "15.1.0", Variant::Main));
    let mut bad_hash = image(ImageChip::ESP32C3, "15.1.0", Variant::Main);
    bad_hash.spoilt = Some(Spoilt::Hash);
    let mut page = bad_hash.clone();
    page.spoilt = Some(Spoilt::Html);
    let mut large = image(ImageChip::ESP32C3, "15.1.0", Variant::Main);
    large.size = 2_000_000;
    for (file, expected) in [
        (
            other_chip,
            "Failed Update error: Could Not Activate The Firmware",
        ),
        (
            build(&bad_hash),
            "Failed Update error: Could Not Activate The Firmware",
        ),
        (build(&page), "Failed Verify Bin Header Failed"),
        (build(&large), "Failed Not Enough space"),
    ] {
        let files = Files::serve();
        files.put("/f/tasmota32c3.bin", &file);
        let mut board = board();
        board.layout = Layout::Dual;
        board.plug.ota_url = files.url("/f/tasmota32c3.bin");
        let mut bench = start(board).await;
        bench.until("booted", |_| true).await;
        bench.command("Upgrade 1").await;
        let result = bench.until("upgrade_result", |_| true).await;
        assert_eq!(result.text("text"), expected);
        assert_eq!(files.asked().len(), 4);
        assert!(
            bench
                .command("Status 2")
                .await
                .contains("15.0.1(release-tasmota32c3)")
        );
        bench.stop().await;
    }
}

#[tokio::test]
async fn every_answer_of_the_server_has_its_text() {
    for (status, head, expected) in [
        (404, "Content-Length: 0", "Failed File Not Found (404)"),
        (403, "Content-Length: 0", "Failed Forbidden (403)"),
        (500, "Content-Length: 0", "Failed Wrong HTTP Code"),
        (200, "X-Nothing: 1", "Failed Server Did Not Report Size"),
        (
            200,
            "Transfer-Encoding: chunked",
            "Failed HTTP error: Transfer-Encoding not supported",
        ),
        (
            200,
            "Content-Length: 40000\r\nx-MD5: 12",
            "Failed Wrong MD5",
        ),
        (
            200,
            "Content-Length: 1000\r\nx-MD5: 00000000000000000000000000000000",
            "Failed Update error: MD5 Check Failed",
        ),
    ] {
        let files = Files::serve();
        files.put_raw(
            "/f/tasmota32c3.bin",
            status,
            head,
            &main_image("15.1.0")[..1000],
        );
        let mut board = board();
        board.layout = Layout::Dual;
        board.plug.ota_url = files.url("/f/tasmota32c3.bin");
        let mut bench = start(board).await;
        bench.until("booted", |_| true).await;
        bench.command("Upgrade 1").await;
        let result = bench.until("upgrade_result", |_| true).await;
        assert_eq!(result.text("text"), expected, "{status} {head}");
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_full_esp8266_goes_over_minimal_and_takes_a_packed_image() {
    let files = Files::serve();
    let sized = |version: &str, variant, size, gzip| {
        let mut spec = image(ImageChip::ESP8266, version, variant);
        spec.size = size;
        spec.gzip = gzip;
        build(&spec)
    };
    files.put(
        "/f/tasmota.bin",
        &sized("15.1.0", Variant::Main, 640_000, false),
    );
    files.put(
        "/f/tasmota-minimal.bin",
        &sized("15.1.0", Variant::Minimal, 300_000, false),
    );
    let mut board = board();
    board.chip = ImageChip::ESP8266;
    board.flash_kib = 1024;
    board.image = sized("15.0.1", Variant::Main, 640_000, false);
    board.plug.ota_url = files.url("/f/tasmota.bin");
    let mut bench = start(board).await;
    bench.until("booted", |_| true).await;
    bench.command("Upgrade 1").await;
    let booted = bench.until("booted", |_| true).await;
    assert_eq!(booted.text("tag"), "release-minimal");
    let booted = bench.until("booted", |_| true).await;
    assert_eq!(
        (booted.text("version"), booted.text("tag")),
        ("15.1.0", "release-tasmota")
    );
    let asked: Vec<_> = files
        .asked()
        .iter()
        .map(|head| head.lines().next().unwrap_or("").to_owned())
        .collect();
    assert_eq!(
        asked,
        [
            "GET /f/tasmota.bin HTTP/1.0",
            "GET /f/tasmota-minimal.bin HTTP/1.0",
            "GET /f/tasmota.bin HTTP/1.0"
        ]
    );
    // The last attempt asks for the packed one.
    files.remove("/f/tasmota.bin");
    files.put(
        "/f/tasmota.bin.gz",
        &sized("15.2.0", Variant::Main, 300_000, true),
    );
    bench.command("Upgrade 1").await;
    let booted = bench.until("booted", |_| true).await;
    assert_eq!(booted.text("version"), "15.2.0");
    bench.stop().await;
}

#[tokio::test]
async fn web_pages_want_the_password_and_where_it_is_checked_the_referer() {
    let mut board = board();
    board.web_password = Some("secret".into());
    board.checks_referer = true;
    let mut bench = start(board).await;
    bench.until("booted", |_| true).await;
    let port = bench.web_port;
    let (status, head, body) = http(port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"").await;
    assert_eq!(status, 200);
    assert!(head.contains("Server: Tasmota/15.0.1 (ESP32-C3)"), "{head}");
    assert!(!body.is_empty());
    let ask = |referer: &str, login: &str| {
        format!("GET /cm?cmnd=Status%202 HTTP/1.1\r\nHost: x\r\n{referer}{login}\r\n")
    };
    let here = "Referer: http://127.0.0.1/\r\n";
    let login = "Authorization: Basic YWRtaW46c2VjcmV0\r\n";
    assert_eq!(http(port, &ask("", login), b"").await.0, 0, "dropped");
    assert_eq!(
        http(port, &ask("Referer: http://10.9.9.9/\r\n", login), b"")
            .await
            .0,
        0
    );
    let (status, _, body) = http(port, &ask(here, ""), b"").await;
    assert_eq!((status, body.contains("Need user=<username>")), (401, true));
    let (status, _, body) = http(port, &ask(here, login), b"").await;
    assert_eq!(
        (status, body.contains("15.0.1(release-tasmota32c3)")),
        (200, true),
        "{body}"
    );
    let by_query = "GET /cm?user=admin&password=secret&cmnd=Status%202 HTTP/1.1\r\nHost: x\r\n";
    let (status, _, _) = http(port, &format!("{by_query}{here}\r\n"), b"").await;
    assert_eq!(status, 200);
    bench.stop().await;
}

#[tokio::test]
async fn settings_go_out_by_dl_and_come_back_by_rs_and_u2_and_a_safeboot_by_its_name() {
    let mut bench = start(board()).await;
    bench.until("booted", |_| true).await;
    bench.command("OtaUrl http://first.example/a.bin").await;
    let port = bench.web_port;
    let (_, head, _) = http(port, "GET /dl HTTP/1.1\r\nHost: x\r\n\r\n", b"").await;
    assert!(
        head.contains("filename=Config_Tasmota_15.0.1.dmp"),
        "{head}"
    );
    let saved = bench::bytes(port, "GET /dl HTTP/1.1\r\nHost: x\r\n\r\n").await;
    bench.command("OtaUrl http://second.example/a.bin").await;
    let refused = bench.upload("/u2?fsz=1", "u2", "Config.dmp", &saved).await;
    assert!(refused.contains("Upload error 3"), "{refused}");
    bench.get("/rs").await;
    let taken = bench.upload("/u2?fsz=1", "u2", "Config.dmp", &saved).await;
    assert!(taken.contains("Successful"), "{taken}");
    bench.until("booted", |_| true).await;
    assert!(bench.command("OtaUrl").await.contains("first.example"));

    let file = safeboot_image("15.1.0");
    let refused = bench
        .upload("/u2?fsz=1", "u2", "tasmota32c3.bin", &main_image("15.1.0"))
        .await;
    assert!(refused.contains("Upload error 2"), "{refused}");
    let taken = bench
        .upload("/u2?fsz=1", "u2", "tasmota32c3-safeboot.bin", &file)
        .await;
    assert!(taken.contains("Successful"), "{taken}");
    let booted = bench.until("booted", |_| true).await;
    assert_eq!(booted.text("slot"), "main");
    bench.command("Restart 3").await;
    let booted = bench.until("booted", |_| true).await;
    assert_eq!(
        (booted.text("slot"), booted.text("version")),
        ("safeboot", "15.1.0")
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_safeboot_without_tls_never_connects_when_tls_is_asked_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a listener");
    let port = listener.local_addr().expect("a port").port();
    let mut board = board();
    board.plug.host = "127.0.0.1".into();
    board.plug.port = port;
    board.tls = Some(safeport_sim::tasmota::Trust::Fingerprint(
        safeport_sim::tasmota::Fingerprint([0xff; 20]),
    ));
    board.stuck = true;
    let mut deaf = image(ImageChip::ESP32C3, "12.5.0", Variant::Safeboot);
    deaf.tls = false;
    board.safeboot = build(&deaf);
    let mut bench = start(board).await;
    bench
        .until("no_mqtt", |event| {
            event.text("why").contains("SetOption103")
        })
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(listener.accept().is_err(), "no connection at all");
    // Without TLS it does.
    bench.command("SetOption103 0").await;
    bench.command("Restart 3").await;
    bench
        .until("connecting", |event| event.fields["tls"] == true)
        .await;
    bench.stop().await;
}

#[tokio::test]
async fn an_image_that_crashes_boots_again_and_again_and_says_so() {
    let mut bad = image(ImageChip::ESP32C3, "15.1.0", Variant::Main);
    bad.behaviour = Behaviour::Crash;
    let mut board = board();
    board.image = build(&bad);
    let mut bench = start(board).await;
    for boot in 1..=3 {
        let booted = bench.until("booted", |_| true).await;
        assert_eq!(booted.fields["boot"], boot);
        assert_eq!(booted.text("reason").contains("Exception"), boot > 1);
    }
    bench.stop().await;
}
