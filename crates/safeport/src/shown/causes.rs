//! What each cause of an attempt means, and what to do about it, in words.

use safeport_net::attempt::Cause;

use crate::say;
use crate::text::Texts;

/// The cause with this code; `None` for a code of another version.
pub fn of_code(code: &str) -> Option<Cause> {
    Cause::ALL.into_iter().find(|cause| cause.code() == code)
}

/// What a cause means.
pub fn meaning(cause: Cause, texts: &Texts) -> String {
    match cause {
        Cause::Healthy => say!(texts, "attempt-healthy"),
        Cause::TakenOver => say!(texts, "attempt-taken_over"),
        Cause::PortCheck => say!(texts, "attempt-port_check"),
        Cause::TlsToPlainPort => say!(texts, "attempt-tls_to_plain_port"),
        Cause::PlainToTlsPort => say!(texts, "attempt-plain_to_tls_port"),
        Cause::HttpToTls => say!(texts, "attempt-http_to_tls"),
        Cause::WssInClear => say!(texts, "attempt-wss_in_clear"),
        Cause::WrongService => say!(texts, "attempt-wrong_service"),
        Cause::Garbage => say!(texts, "attempt-garbage"),
        Cause::TimeoutTooShort => say!(texts, "attempt-timeout_too_short"),
        Cause::Silent => say!(texts, "attempt-silent"),
        Cause::HelloIncomplete => say!(texts, "attempt-hello_incomplete"),
        Cause::TlsVersion => say!(texts, "attempt-tls_version"),
        Cause::NoCommonCipher => say!(texts, "attempt-no_common_cipher"),
        Cause::NoCommonGroup => say!(texts, "attempt-no_common_group"),
        Cause::NoCommonSignature => say!(texts, "attempt-no_common_signature"),
        Cause::NoCommonAlpn => say!(texts, "attempt-no_common_alpn"),
        Cause::TlsBroken => say!(texts, "attempt-tls_broken"),
        Cause::ClientCertRequired => say!(texts, "attempt-client_cert_required"),
        Cause::ClientCertRefused => say!(texts, "attempt-client_cert_refused"),
        Cause::CertificateRefused => say!(texts, "attempt-certificate_refused"),
        Cause::FingerprintMismatch => say!(texts, "attempt-fingerprint_mismatch"),
        Cause::NameMismatch => say!(texts, "attempt-name_mismatch"),
        Cause::Untrusted => say!(texts, "attempt-untrusted"),
        Cause::UntrustedSelfSigned => say!(texts, "attempt-untrusted_self_signed"),
        Cause::ChainIncomplete => say!(texts, "attempt-chain_incomplete"),
        Cause::CertificateExpired => say!(texts, "attempt-certificate_expired"),
        Cause::NotYetValid => say!(texts, "attempt-not_yet_valid"),
        Cause::CertificateRevoked => say!(texts, "attempt-certificate_revoked"),
        Cause::WrongEku => say!(texts, "attempt-wrong_eku"),
        Cause::DeviceClockUnset => say!(texts, "attempt-device_clock_unset"),
        Cause::DeviceClockWrong => say!(texts, "attempt-device_clock_wrong"),
        Cause::HashUnsupported => say!(texts, "attempt-hash_unsupported"),
        Cause::HashWeak => say!(texts, "attempt-hash_weak"),
        Cause::ChainUnsupportedCurve => say!(texts, "attempt-chain_unsupported_curve"),
        Cause::KeyTooLarge => say!(texts, "attempt-key_too_large"),
        Cause::LowHeap => say!(texts, "attempt-low_heap"),
        Cause::ClosesInHandshake => say!(texts, "attempt-closes_in_handshake"),
        Cause::HandshakeTimeout => say!(texts, "attempt-handshake_timeout"),
        Cause::MtuBlackHole => say!(texts, "attempt-mtu_black_hole"),
        Cause::ClosesAfterHandshake => say!(texts, "attempt-closes_after_handshake"),
        Cause::SilentAfterHandshake => say!(texts, "attempt-silent_after_handshake"),
        Cause::RecordTooLarge => say!(texts, "attempt-record_too_large"),
        Cause::ConnectionLost => say!(texts, "attempt-connection_lost"),
        Cause::AuthFailed => say!(texts, "attempt-auth_failed"),
        Cause::ClientIdRefused => say!(texts, "attempt-client_id_refused"),
        Cause::ProtocolVersion => say!(texts, "attempt-protocol_version"),
        Cause::ServerBusy => say!(texts, "attempt-server_busy"),
        Cause::Banned => say!(texts, "attempt-banned"),
        Cause::RateLimited => say!(texts, "attempt-rate_limited"),
        Cause::PacketTooLarge => say!(texts, "attempt-packet_too_large"),
        Cause::ProtocolError => say!(texts, "attempt-protocol_error"),
        Cause::Refused => say!(texts, "attempt-refused"),
        Cause::DuplicateClientId => say!(texts, "attempt-duplicate_client_id"),
        Cause::PushedOut => say!(texts, "attempt-pushed_out"),
        Cause::TooManyHandshakes => say!(texts, "attempt-too_many_handshakes"),
        Cause::TooManyFromAddress => say!(texts, "attempt-too_many_from_address"),
        Cause::TooManyConnections => say!(texts, "attempt-too_many_connections"),
        Cause::NoDescriptors => say!(texts, "attempt-no_descriptors"),
        Cause::Checked => say!(texts, "attempt-checked"),
        Cause::NotActivated => say!(texts, "attempt-not_activated"),
        Cause::CheckRefused => say!(texts, "attempt-check_refused"),
        Cause::NoVoiceServer => say!(texts, "attempt-no_voice_server"),
        Cause::Flapping => say!(texts, "attempt-flapping"),
        Cause::KeepAliveTimeout => say!(texts, "attempt-keep_alive_timeout"),
        Cause::Restarts => say!(texts, "attempt-restarts"),
    }
}

/// What to do about it.
pub fn next(cause: Cause, texts: &Texts) -> String {
    match cause {
        Cause::Healthy => say!(texts, "attempt-healthy-next"),
        Cause::TakenOver => say!(texts, "attempt-taken_over-next"),
        Cause::PortCheck => say!(texts, "attempt-port_check-next"),
        Cause::TlsToPlainPort => say!(texts, "attempt-tls_to_plain_port-next"),
        Cause::PlainToTlsPort => say!(texts, "attempt-plain_to_tls_port-next"),
        Cause::HttpToTls => say!(texts, "attempt-http_to_tls-next"),
        Cause::WssInClear => say!(texts, "attempt-wss_in_clear-next"),
        Cause::WrongService => say!(texts, "attempt-wrong_service-next"),
        Cause::Garbage => say!(texts, "attempt-garbage-next"),
        Cause::TimeoutTooShort => say!(texts, "attempt-timeout_too_short-next"),
        Cause::Silent => say!(texts, "attempt-silent-next"),
        Cause::HelloIncomplete => say!(texts, "attempt-hello_incomplete-next"),
        Cause::TlsVersion => say!(texts, "attempt-tls_version-next"),
        Cause::NoCommonCipher => say!(texts, "attempt-no_common_cipher-next"),
        Cause::NoCommonGroup => say!(texts, "attempt-no_common_group-next"),
        Cause::NoCommonSignature => say!(texts, "attempt-no_common_signature-next"),
        Cause::NoCommonAlpn => say!(texts, "attempt-no_common_alpn-next"),
        Cause::TlsBroken => say!(texts, "attempt-tls_broken-next"),
        Cause::ClientCertRequired => say!(texts, "attempt-client_cert_required-next"),
        Cause::ClientCertRefused => say!(texts, "attempt-client_cert_refused-next"),
        Cause::CertificateRefused => say!(texts, "attempt-certificate_refused-next"),
        Cause::FingerprintMismatch => say!(texts, "attempt-fingerprint_mismatch-next"),
        Cause::NameMismatch => say!(texts, "attempt-name_mismatch-next"),
        Cause::Untrusted => say!(texts, "attempt-untrusted-next"),
        Cause::UntrustedSelfSigned => say!(texts, "attempt-untrusted_self_signed-next"),
        Cause::ChainIncomplete => say!(texts, "attempt-chain_incomplete-next"),
        Cause::CertificateExpired => say!(texts, "attempt-certificate_expired-next"),
        Cause::NotYetValid => say!(texts, "attempt-not_yet_valid-next"),
        Cause::CertificateRevoked => say!(texts, "attempt-certificate_revoked-next"),
        Cause::WrongEku => say!(texts, "attempt-wrong_eku-next"),
        Cause::DeviceClockUnset => say!(texts, "attempt-device_clock_unset-next"),
        Cause::DeviceClockWrong => say!(texts, "attempt-device_clock_wrong-next"),
        Cause::HashUnsupported => say!(texts, "attempt-hash_unsupported-next"),
        Cause::HashWeak => say!(texts, "attempt-hash_weak-next"),
        Cause::ChainUnsupportedCurve => say!(texts, "attempt-chain_unsupported_curve-next"),
        Cause::KeyTooLarge => say!(texts, "attempt-key_too_large-next"),
        Cause::LowHeap => say!(texts, "attempt-low_heap-next"),
        Cause::ClosesInHandshake => say!(texts, "attempt-closes_in_handshake-next"),
        Cause::HandshakeTimeout => say!(texts, "attempt-handshake_timeout-next"),
        Cause::MtuBlackHole => say!(texts, "attempt-mtu_black_hole-next"),
        Cause::ClosesAfterHandshake => say!(texts, "attempt-closes_after_handshake-next"),
        Cause::SilentAfterHandshake => say!(texts, "attempt-silent_after_handshake-next"),
        Cause::RecordTooLarge => say!(texts, "attempt-record_too_large-next"),
        Cause::ConnectionLost => say!(texts, "attempt-connection_lost-next"),
        Cause::AuthFailed => say!(texts, "attempt-auth_failed-next"),
        Cause::ClientIdRefused => say!(texts, "attempt-client_id_refused-next"),
        Cause::ProtocolVersion => say!(texts, "attempt-protocol_version-next"),
        Cause::ServerBusy => say!(texts, "attempt-server_busy-next"),
        Cause::Banned => say!(texts, "attempt-banned-next"),
        Cause::RateLimited => say!(texts, "attempt-rate_limited-next"),
        Cause::PacketTooLarge => say!(texts, "attempt-packet_too_large-next"),
        Cause::ProtocolError => say!(texts, "attempt-protocol_error-next"),
        Cause::Refused => say!(texts, "attempt-refused-next"),
        Cause::DuplicateClientId => say!(texts, "attempt-duplicate_client_id-next"),
        Cause::PushedOut => say!(texts, "attempt-pushed_out-next"),
        Cause::TooManyHandshakes => say!(texts, "attempt-too_many_handshakes-next"),
        Cause::TooManyFromAddress => say!(texts, "attempt-too_many_from_address-next"),
        Cause::TooManyConnections => say!(texts, "attempt-too_many_connections-next"),
        Cause::NoDescriptors => say!(texts, "attempt-no_descriptors-next"),
        Cause::Checked => say!(texts, "attempt-checked-next"),
        Cause::NotActivated => say!(texts, "attempt-not_activated-next"),
        Cause::CheckRefused => say!(texts, "attempt-check_refused-next"),
        Cause::NoVoiceServer => say!(texts, "attempt-no_voice_server-next"),
        Cause::Flapping => say!(texts, "attempt-flapping-next"),
        Cause::KeepAliveTimeout => say!(texts, "attempt-keep_alive_timeout-next"),
        Cause::Restarts => say!(texts, "attempt-restarts-next"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Language;
    use std::collections::BTreeSet;

    #[test]
    fn every_cause_has_a_meaning_and_a_next_step_of_its_own_code_in_both_languages() {
        for language in [Language::English, Language::Chinese] {
            let texts = Texts::new(language);
            let mut meanings = BTreeSet::new();
            for cause in Cause::ALL {
                let code = cause.code();
                let said = meaning(cause, &texts);
                // An unknown id shows as itself.
                assert_eq!(said, texts.get(&format!("attempt-{code}"), &[]), "{code}");
                assert_ne!(said, format!("attempt-{code}"));
                let step = next(cause, &texts);
                assert_eq!(step, texts.get(&format!("attempt-{code}-next"), &[]));
                assert_ne!(step, format!("attempt-{code}-next"));
                assert!(meanings.insert(said), "{code} is said like another cause");
            }
        }
    }

    #[test]
    fn the_page_for_users_lists_every_cause_in_the_words_that_are_shown() {
        let page = include_str!("../../../../docs/attempts.md");
        let texts = Texts::new(Language::English);
        let program = crate::program::name();
        for cause in Cause::ALL {
            let words = [meaning(cause, &texts), next(cause, &texts)];
            let [means, next] = words.map(|text| text.replace(program, "safeport"));
            let row = format!("| `{}` | {means} | {next} |", cause.code());
            assert!(page.contains(&row), "docs/attempts.md lacks: {row}");
        }
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let codes = rows.filter(|line| !line.starts_with("| `--")).count();
        assert_eq!(
            codes,
            Cause::ALL.len(),
            "docs/attempts.md lists what is not there"
        );
    }

    #[test]
    fn causes_are_found_by_their_codes() {
        for cause in Cause::ALL {
            assert_eq!(of_code(cause.code()), Some(cause));
        }
        assert_eq!(of_code("bad_weather"), None);
    }
}
