use super::*;

const KEY: &str = "tok-4711/abc+def";

fn redactor() -> Redactor {
    Redactor::new(
        [
            KEY,
            "short",
            "second secret value",
            "tok-4711/abc+def-and-longer",
        ]
        .map(SecretString::from),
    )
}

#[test]
fn masks_known_values_in_every_form() {
    let base64 = |prefix: &str| STANDARD_NO_PAD.encode(format!("{prefix}{KEY}"));
    for (text, expected) in [
        (format!("a {KEY} b"), "a [redacted] b"),
        ("tok-4711/abc+def-and-longer!".to_owned(), "[redacted]!"),
        ("746f6b2d343731312f6162632b646566".to_owned(), "[redacted]"),
        (
            "746F6B2D343731312F6162632B646566.".to_owned(),
            "[redacted].",
        ),
        ("?q=tok-4711%2Fabc%2Bdef&x".to_owned(), "?q=[redacted]&x"),
        (
            "second+secret+value second%20secret%20value".to_owned(),
            "[redacted] [redacted]",
        ),
        ("short stays".to_owned(), "short stays"),
    ] {
        assert_eq!(redactor().mask(&text), expected, "{text}");
    }
    for user in ["", "u", "us", "use"] {
        let text = base64(user);
        let masked = redactor().mask(&text).into_owned();
        assert!(masked.contains(MASK), "{user}: {text} -> {masked}");
        assert!(
            masked.len() < MASK.len() + 8,
            "{user}: {masked} keeps too much"
        );
    }
}

#[test]
fn masks_what_looks_like_a_key() {
    for (text, expected) in [
        ("key sk-proj-abcdefghij0123456789abcd.", "key [redacted]."),
        ("GROQ=gsk_abcdefghij0123456789xy", "GROQ=[redacted]"),
        ("ghp_abcdefghij0123456789 rest", "[redacted] rest"),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
        (
            "Authorization: Bearer abcdefghij0123456789",
            "Authorization: Bearer [redacted]",
        ),
        (
            "x\n-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\ny",
            "x\n[redacted]\ny",
        ),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc", "[redacted]"),
    ] {
        assert_eq!(redactor().mask(text), expected, "{text}");
    }
}

#[test]
fn leaves_ordinary_text_alone() {
    for text in [
        "task-abcdefghij0123456789abcdefgh",
        "use sk-learn-and-other-libraries-for-it",
        "Bearer YOUR_API_KEY_GOES_HERE",
        "AKIA and ASIA are prefixes",
        "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----",
        "",
    ] {
        assert!(
            matches!(redactor().mask(text), Cow::Borrowed(same) if same == text),
            "{text}"
        );
    }
}

#[test]
fn a_stream_masks_the_same_wherever_it_is_cut() {
    let text = format!(
        "hello {KEY}, sk-abcdefghij0123456789xyz and tok-4711/abc+def-and-longer; task-sk-1 x\n\
         -----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----\nüber {KEY}"
    );
    let expected = redactor().mask(&text).into_owned();
    assert!(
        !expected.contains("4711") && !expected.contains("MII"),
        "{expected}"
    );
    for size in 1..40 {
        let mut stream = redactor().stream();
        let mut got = String::new();
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(size) {
            got.push_str(&stream.push(&piece.iter().collect::<String>()));
        }
        got.push_str(&stream.finish());
        assert_eq!(got, expected, "pieces of {size}");
    }
}

#[test]
fn a_stream_holds_nothing_back_without_need() {
    let mut stream = redactor().stream();
    assert_eq!(stream.push("Bonjour, the answer"), "Bonjour, the answer");
    assert_eq!(stream.push(" is tok"), " is ");
    assert_eq!(stream.push("en"), "token");
    assert_eq!(stream.finish(), "");
}

#[test]
fn masks_json_inside_out() {
    let mut value = serde_json::json!({"a": [KEY, 1, null], KEY: {"b": "x"}});
    redactor().mask_json(&mut value);
    assert_eq!(
        value,
        serde_json::json!({"a": [MASK, 1, null], MASK: {"b": "x"}})
    );
}
