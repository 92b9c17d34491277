use super::stub::{KEY, endpoint};
use super::*;

fn address(url: &str) -> Result<String, EndpointError> {
    let url = endpoint(url).address("chat/completions")?;
    Ok(url.to_string())
}

#[test]
fn the_function_is_put_behind_the_base_url_however_that_is_written() {
    for (url, expected) in [
        ("https://host/v1", "https://host/v1/chat/completions"),
        ("https://host/v1/", "https://host/v1/chat/completions"),
        ("  http://host:8000 ", "http://host:8000/chat/completions"),
        (
            "https://host/v1/chat/completions",
            "https://host/v1/chat/completions",
        ),
        (
            "https://host/v1?api-version=2#x",
            "https://host/v1/chat/completions?api-version=2",
        ),
        (
            "https://user:password@host/v1",
            "https://host/v1/chat/completions",
        ),
    ] {
        assert_eq!(address(url).as_deref(), Ok(expected), "{url}");
    }
    for url in ["", "host/v1", "ws://host/v1", "/v1", "http://"] {
        assert_eq!(address(url), Err(EndpointError::NoUrl), "{url}");
    }
}

#[test]
fn a_key_is_not_shown_with_what_it_belongs_to() {
    let endpoint = endpoint("https://host/v1");
    let shown = format!("{endpoint:?}");
    assert!(shown.contains("cloud") && !shown.contains(KEY), "{shown}");
    let chat = OpenAiChat::new(endpoint).expect("a url");
    assert!(!format!("{chat:?}").contains(KEY));
}

#[test]
fn little_time_in_all_is_little_time_for_each_part() {
    let short = Timeouts::within(Duration::from_secs(4));
    assert_eq!(short.between, Duration::from_secs(4));
    let long = Timeouts::within(Duration::from_secs(300));
    assert_eq!(long.between, Timeouts::default().between);
    assert_eq!(
        (long.first, long.whole),
        (long.whole, Duration::from_secs(300))
    );
}
