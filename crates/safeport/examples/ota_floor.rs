//! The least that an OTA check can cost with our HTTP library: the answer of `answer.json` to every
//! POST, with nothing known, kept or logged. `bench/ota.py` measures it beside the server.
//!
//! `ota_floor PORT ANSWER_FILE`

use std::error::Error;

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::post;
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(answer)) = (arguments.next(), arguments.next()) else {
        return Err("usage: ota_floor PORT ANSWER_FILE".into());
    };
    let answer: Value = serde_json::from_slice(&std::fs::read(answer)?)?;
    let port: u16 = port.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        let router = Router::new().route(
            "/xiaozhi/ota/",
            post(move |body: Bytes| {
                let answer = answer.clone();
                async move {
                    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
                    let mut answer = answer;
                    answer["firmware"]["version"] = asked["application"]["version"].clone();
                    let text = answer.to_string();
                    ([(header::CONTENT_TYPE, "application/json")], text)
                }
            }),
        );
        Ok(axum::serve(listener, router).await?)
    })
}
