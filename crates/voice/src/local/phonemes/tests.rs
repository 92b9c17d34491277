use super::*;

fn read(text: &str, ipa: &str) -> String {
    codepoints(&clauses(text), ipa)
        .into_iter()
        .filter_map(|codepoint| char::from_u32(codepoint.cast_unsigned()))
        .collect()
}

#[test]
fn each_clause_keeps_what_ended_it() {
    let text = "Turn on the light, please. Is it ten o'clock?";
    assert_eq!(
        clauses(text),
        [
            ("Turn on the light".to_owned(), ','),
            ("please".to_owned(), '.'),
            ("Is it ten o'clock".to_owned(), '?')
        ]
    );
    assert_eq!(
        read(text, " tˈɜːn ɔnðə lˈaɪt\n plˈiːz\n ɪz ɪt tˈɛn əklˈɑːk\n"),
        "tˈɜːn ɔnðə lˈaɪt, plˈiːz. ɪz ɪt tˈɛn əklˈɑːk?"
    );
}

#[test]
fn marks_inside_of_numbers_and_between_marks_end_nothing() {
    assert_eq!(
        clauses("It is 12:30, or 10.5 -- well... no"),
        [
            ("It is 12:30".to_owned(), ','),
            ("or 10.5 -- well..".to_owned(), '.'),
            ("no".to_owned(), '.')
        ]
    );
    assert_eq!(clauses("?! ..."), []);
    assert_eq!(
        clauses("你好，现在几点？"),
        [("你好".to_owned(), ','), ("现在几点".to_owned(), '?')]
    );
}

#[test]
fn other_clauses_than_ours_keep_the_last_mark() {
    assert_eq!(
        read("one (two) three!", "wˈʌn\ntˈuː\nθɹˈiː\n"),
        "wˈʌn tˈuː θɹˈiː!"
    );
}

#[test]
fn flags_of_other_languages_are_left_out_and_letters_taken_apart() {
    assert_eq!(
        read("ich sage hello", "ɪç zˈaːɡə (en)həlˈoʊ(de)"),
        "ɪc\u{327} zˈaːɡə həlˈoʊ."
    );
}
