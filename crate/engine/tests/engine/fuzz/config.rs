//! The reader of configurations: whatever the text, it answers; what it takes is the same as JSON.

use plenipo_api::{Input, Options, read, to_json_unredacted};
use plenipo_testkit::fuzz::fuzz;

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
