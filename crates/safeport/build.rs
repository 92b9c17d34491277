//! With the feature `voice-local`, says where the server looks for the libraries that it is linked with: beside itself,
//! then in `../lib/safeport` (docs/voice-local.md). Without it there is nothing to do.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_VOICE_LOCAL").is_none() {
        return;
    }
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,$ORIGIN:$ORIGIN/../lib/safeport");
    }
}
