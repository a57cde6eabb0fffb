//! The reader and the compiler of configurations: whatever the text, they answer; what the reader takes is the same as JSON.

use plenipo_api::{Input, Options, Severity, read, to_json_unredacted};
use plenipo_engine::engine::{self, validate};
use plenipo_testkit::fuzz::{Numbers, fuzz};
use serde_json::{Value, json};

const MESSAGE: &str = "envoy.config.cluster.v3.Cluster";

#[test]
fn yaml_and_json() {
    let words = [
        "\n",
        "  ",
        "- ",
        ": ",
        "&a",
        "*a",
        "!!str ",
        "|",
        ">",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "name: x",
        "\"name\": ",
        "0x10",
        "1.5s",
        "null",
        "~",
        "yes",
        "1e400",
        "\u{feff}",
        "---",
        "<<: ",
        "connect_timeout: ",
        "type: STATIC",
        "typed_config: {\"@type\": type.googleapis.com/google.protobuf.Struct}",
        "load_assignment: ",
        "lb_policy: MAGLEV",
    ];
    fuzz(include_str!("../../corpus/cluster.txt"), &words, |input, _| {
        let options = Options::default();
        let mut taken = [false; 2];
        let mut complaint = None;
        for (form, text) in [Input::yaml(input), Input::json(input)].into_iter().enumerate() {
            match read(MESSAGE, vec![text], &options) {
                Ok(loaded) => {
                    taken[form] = true;
                    let Ok(json) = to_json_unredacted(MESSAGE, &loaded.bytes) else { continue };
                    let again =
                        read(MESSAGE, vec![Input::json(json.to_string())], &options).unwrap_or_else(|e| panic!("{json} is refused: {e:?}"));
                    assert_eq!(to_json_unredacted(MESSAGE, &again.bytes).ok(), Some(json));
                }
                Err(issues) => {
                    assert!(!issues.is_empty());
                    complaint = Some(issues[0].message.split(' ').take(3).map(str::to_owned).collect::<Vec<_>>());
                }
            }
        }
        (taken, complaint)
    });
}

/// Whole bootstraps, read and compiled as `plenipo validate` does it. An input that is JSON is changed as a document too, so that most of what is
/// tried gets past the reader.
#[test]
fn bootstraps() {
    let words = ["{}", "[]", "\"\"", ",", "\"$\"", "-1", "1e400", "\"0s\"", "\"@type\":", "true", "null", "\"%\"", "\"**\"", "\"(\"", " "];
    fuzz(include_str!("../../corpus/bootstrap.txt"), &words, |input, numbers| {
        let Ok(mut document) = serde_json::from_slice::<Value>(input) else { return complaints(Input::yaml(input)) };
        for _ in 0..numbers.below(4) {
            change(&mut document, numbers);
        }
        complaints(Input::json(document.to_string()))
    });
}

/// The first words of what is wrong with a document, if anything is.
fn complaints(document: Input) -> Option<String> {
    let issues = validate(vec![document], &engine::Options::default());
    assert!(issues.iter().all(|issue| !issue.message.is_empty()));
    let first = issues.iter().find(|issue| issue.severity == Severity::Error)?;
    Some(first.message.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// Takes a part of a document away, doubles it, or puts another in its place: one from elsewhere in it, or a value that is seldom right.
fn change(document: &mut Value, numbers: &mut Numbers) {
    let strange = [
        json!(0),
        json!(-1),
        json!(4_294_967_296_u64),
        json!(1e300),
        json!("0s"),
        json!("315576000001s"),
        json!("-0.000000001s"),
        json!(""),
        json!("%"),
        json!("(a"),
        json!("\u{20ac}\0\r\n"),
        json!("x".repeat(300)),
        json!(true),
        json!(null),
        json!([]),
        json!({}),
        json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": {"a": 1}}),
        json!({"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "type_url": "type.googleapis.com/google.protobuf.Struct", "value": {}}),
        json!({"seconds": 1, "nanos": 2_000_000_000}),
        json!({"runtime_key": "", "default_value": {"numerator": 4_294_967_295_u64, "denominator": "MILLION"}}),
    ];
    let places = places(document);
    let place = numbers.of::<String>(&places).clone();
    let new = match numbers.below(4) {
        0 => document.pointer(numbers.of::<String>(&places)).cloned().unwrap_or_default(),
        1 => Value::Null,
        _ => numbers.of(&strange).clone(),
    };
    let whole = place.rsplit_once('/').map_or("", |(whole, _)| whole).to_owned();
    match document.pointer_mut(&whole) {
        Some(Value::Array(list)) if numbers.below(2) == 0 => list.push(new),
        _ => drop(document.pointer_mut(&place).map(|part| *part = new)),
    }
}

/// JSON pointers to all parts of a document.
fn places(document: &Value) -> Vec<String> {
    let mut places = vec![String::new()];
    let mut at = 0;
    while at < places.len() {
        let place = places[at].clone();
        match document.pointer(&place) {
            Some(Value::Object(fields)) => {
                places.extend(fields.keys().map(|key| format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"))));
            }
            Some(Value::Array(list)) => places.extend((0..list.len()).map(|i| format!("{place}/{i}"))),
            _ => {}
        }
        at += 1;
    }
    places
}
