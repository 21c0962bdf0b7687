use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

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
    // What stands before the key keeps its own characters, and no bit of the key's last group is left.
    for (user, expected) in [
        ("", "[redacted]"),
        ("u", "dX[redacted]"),
        ("us", "dXN[redacted]"),
        ("use", "dXNl[redacted]"),
    ] {
        assert_eq!(redactor().mask(&base64(user)), expected);
        let padded = STANDARD.encode(format!("{user}{KEY}"));
        assert_eq!(redactor().mask(&padded), expected);
    }
}

#[test]
fn masks_known_values_that_are_folded_or_escaped() {
    for (text, expected) in [
        ("a tok-4711\n/abc+def b", "a [redacted] b"),
        ("dG9rLTQ3\nMTEvYWJj\nK2RlZg==\n", "[redacted]\n"),
        (
            "74 6f 6b 2d 34 37 31 31  2f 61 62 63 2b 64 65 66",
            "[redacted]",
        ),
        (r"tok-4711\/abc+def", "[redacted]"),
        (
            r#"{\"k\":\"tok-4711\\/abc+def\"}"#,
            r#"{\"k\":\"[redacted]\"}"#,
        ),
        ("tok-4711%2fabc%2bdef", "[redacted]"),
        ("tok%2D4711/abc%2Bdef.", "[redacted]."),
        ("tok-4711&#x2F;abc&#43;def;", "[redacted];"),
        (r"tok\x2d4711\u002fabc\+def", "[redacted]"),
    ] {
        assert_eq!(redactor().mask(text), expected, "{text}");
    }
}

#[test]
fn masks_the_ends_of_a_key_that_was_parted() {
    let redactor = Redactor::new(
        [
            "q7xz-ordinary-words-2vhs",
            "Q7xz93kdLm84TrWbY2vHsJp6",
            "correct horse battery staple",
            "https://h.example.org/t/84TrWbY2vHs",
        ]
        .map(SecretString::from),
    );
    for (text, expected) in [
        ("Q7xz93kdLm84TrW", "[redacted]"),
        ("Q7xz93kdLm84 is all", "[redacted] is all"),
        ("the rest: dLm84TrWbY2vHsJp6.", "the rest: [redacted]."),
        ("51377837 7a393364", "51377837 7a393364"),
        ("5137787a39336b644c6d38345472", "[redacted]"),
        ("UTd4ejkza2RMbTg0VHJX zmRm", "[redacted] zmRm"),
        ("Q7xz93k", "Q7xz93k"),
        ("q7xz-ordinar", "[redacted]"),
        ("ry-words-2vhs", "[redacted]"),
        ("ordinary-words", "ordinary-words"),
        ("correct horse battery", "correct horse battery"),
        ("https://h.example.org/t/", "https://h.example.org/t/"),
    ] {
        assert_eq!(redactor.mask(text), expected, "{text}");
    }
}

#[test]
fn masks_the_passwords_of_addresses() {
    let redactor = Redactor::default();
    for (text, expected) in [
        (
            "\turl = https://me:s3cr3t@git.example.com/a/b.git\n",
            "\turl = https://me:[redacted]@git.example.com/a/b.git\n",
        ),
        ("https://:pw@host", "https://:[redacted]@host"),
        (
            "https://x-access-token:a%40b@host:8443/c?d=e@f",
            "https://x-access-token:[redacted]@host:8443/c?d=e@f",
        ),
        (
            "postgres://app:p@ss:word@db/x and ftp://a:b@c",
            "postgres://app:[redacted]@db/x and ftp://a:[redacted]@c",
        ),
        (
            r#"{"url":"https:\/\/me:pw@host\/a"}"#,
            r#"{"url":"https:\/\/me:[redacted]@host\/a"}"#,
        ),
        // A token where the name of a user stands.
        (
            "https://0123456789abcdef0123456789abcdef01234567@host/x",
            "https://[redacted]@host/x",
        ),
        (
            "AUTHORIZATION: basic eC1hY2Nlc3MtdG9rZW46Z2hzXzEyMw==",
            "AUTHORIZATION: basic [redacted]",
        ),
    ] {
        assert_eq!(redactor.mask(text), expected, "{text}");
        for at in 0..=text.len() {
            let mut stream = redactor.stream();
            let mut masked = stream.push(&text[..at]);
            masked.push_str(&stream.push(&text[at..]));
            masked.push_str(&stream.finish());
            assert_eq!(masked, expected, "{text} at {at}");
        }
    }
    for text in [
        "ssh://git@github.com/a/b.git",
        "https://host:8080/a@b:c@d",
        "https://user:@host",
        "https://user:$TOKEN@host https://user:${token}@host https://u:{{ pw }}@h",
        "https://u:%s@host https://u:***@host https://u:<password>@host",
        "see https://docs.rs/x: it is at a@b.example.com",
        "a basic understanding of things",
        "std::fmt://x",
    ] {
        assert_eq!(redactor.mask(text), text);
    }
}

#[test]
fn lines_of_a_longer_value_are_values() {
    let redactor = Redactor::new([SecretString::from(
        "-----BEGIN X-----\nabcdefghijklmnopq\nshort\n",
    )]);
    assert_eq!(
        redactor.mask("-----BEGIN X-----\nabcdefghijklmnopq\nshort\nrest"),
        "[redacted]\nrest"
    );
    assert_eq!(redactor.mask("abcdefghijklmnopq short"), "[redacted] short");
}

#[test]
fn a_masked_name_is_a_name() {
    let mut name = format!("get_{KEY}");
    redactor().mask_name(&mut name);
    assert_eq!(name, "get_redacted");
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
         -----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----\nüber {KEY} dG9rLTQ3\nMTEvYWJjK2RlZg== \
         tok%2D4711%2fabc+def 5% \\ &amp; tok-4711\\/abc\\u002bdef &"
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
fn masks_every_piece_of_a_key_that_is_no_words() {
    const KEY: &str = "sk-ant-api03-Q7xz93kdLm84TrWbY2vHsJp6N1cgT5eXüR8wZa0VfKu3";
    let redactor = Redactor::new([SecretString::from(KEY)]);
    let in_digits: Vec<String> = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let hexadecimal = in_digits.concat();
    let pairs: Vec<String> = in_digits[1..]
        .chunks_exact(2)
        .map(|pair| format!("{}{} ", pair[1], pair[0]))
        .collect();
    let swapped = pairs.concat();
    let reversed: String = KEY.chars().rev().collect();
    let in_base64 = STANDARD_NO_PAD.encode(format!("xy{KEY}"));
    for (form, least) in [
        (KEY.get(13..).unwrap(), 10),
        (reversed.get(..45).unwrap(), 10),
        (&hexadecimal, 9),
        (&hexadecimal.to_uppercase(), 9),
        (&swapped, 12),
        (in_base64.get(3..74).unwrap(), 9),
        // `base32`, of the key and of the key behind one letter.
        (
            "ONVS2YLOOQWWC4DJGAZS2UJXPB5DSM3LMRGG2OBUKRZFOYSZGJ3EQ42KOA3E4MLDM5KDKZKYYO6FEODXLJQTAVTGJN2TG",
            9,
        ),
        (
            "ZWWLLBNZ2C2YLQNEYDGLKRG54HUOJTNNSEY3JYGRKHEV3CLEZHMSDTJJYDMTRRMNTVINLFLDB3YURYO5NGCMCWMZFXKMY",
            9,
        ),
    ] {
        let characters: Vec<char> = form.chars().collect();
        for size in least..characters.len() {
            for piece in characters.windows(size) {
                let piece: String = piece.iter().collect();
                let masked = redactor.mask(&piece).into_owned();
                let left = masked.replace(MASK, "").trim().len();
                assert!(masked.contains(MASK) && left < 2, "{piece}: {masked}");
            }
        }
    }
    for text in [
        "sk-ant-api03-…",
        "736b",
        "ordinary words, 2024-12-31, anthropic-version",
        "\u{129}R8wZa",
    ] {
        assert_eq!(redactor.mask(text), text);
    }
    // A character that has a byte in common with one of the key.
    assert_eq!(redactor.mask("\u{13c}R8wZa0VfK-"), "[redacted]-");
}

#[test]
fn a_stream_masks_pieces_wherever_it_is_cut() {
    let redactor = Redactor::new([SecretString::from("Q7xz93kdLm84TrWbY2vHsJp6ü1cgT5eX")]);
    let text = "it begins Q7xz93kdLm, goes on 84TrWbY2vHsJp and ends p6ü1cgT5eX, in all. Lm84 is little, 5eX ü too.";
    for size in 1..40 {
        let mut stream = redactor.stream();
        let characters: Vec<char> = text.chars().collect();
        let mut got = String::new();
        for piece in characters.chunks(size) {
            got.push_str(&stream.push(&piece.iter().collect::<String>()));
        }
        got.push_str(&stream.finish());
        let shown: Vec<&str> = got.split(MASK).collect();
        // Three characters are no sign of a key yet.
        assert_eq!(shown.len(), 4, "pieces of {size}: {got}");
        for (shown, whole) in shown.iter().zip(["it begins ", ", goes on ", " and ends "]) {
            assert!(shown.len() <= whole.len() + 3, "pieces of {size}: {got}");
        }
        assert!(
            shown[3].ends_with(", in all. Lm84 is little, 5eX ü too."),
            "{got}"
        );
    }
}

#[test]
fn many_keys_in_a_long_text_are_masked_in_good_time() {
    let redactor = Redactor::new([SecretString::from("Q7xz93kdLm84TrWbY2vHsJp6")]);
    let text = "Q7xz93kdLm84TrWbY2vHsJp6 93kdLm84Tr\\n".repeat(20_000);
    let began = tokio::time::Instant::now();
    assert!(!redactor.mask(&text).contains("Lm84"));
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
