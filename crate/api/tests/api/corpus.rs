//! Every bootstrap of Envoy's documentation gets the verdict that Envoy 1.40 gives it.

use std::{collections::BTreeMap, fs, path::Path};

use plenipo_api::{Input, Options, read_bootstrap};

/// Why Envoy refuses a file that its schema and rules allow, by a part of its message. Such a file must be accepted here:
/// the reader does no I/O, and contrib's types are in the API but not in Envoy's usual build.
const ASIDE: [(&str, &str); 4] = [
    ("could not find @type", "a contrib extension, absent from Envoy's usual build"),
    ("Failed to load incomplete private key from path", "a key file that is not there"),
    ("Invalid path:", "a file that is not there"),
    ("a certificate was provided but it was unable to be loaded", "a certificate that is not there"),
];

#[test]
fn verdicts_agree_with_envoy() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let verdicts = fs::read_to_string(folder.join("VERDICTS.tsv")).unwrap();
    let mut asides = BTreeMap::new();
    let (mut accepted, mut failures) = (0, Vec::new());
    for line in verdicts.lines() {
        let mut columns = line.split('\t');
        let (verdict, name, message) = (columns.next().unwrap(), columns.next().unwrap(), columns.next().unwrap_or(""));
        let bytes = fs::read(folder.join(name)).unwrap();
        let result = read_bootstrap(vec![Input::file(name, bytes).unwrap()], &Options::default());
        let aside = ASIDE.iter().find(|(part, _)| message.contains(part));
        match (verdict, aside) {
            ("OK", _) => accepted += 1,
            (_, Some((_, reason))) => *asides.entry(*reason).or_insert(0) += 1,
            _ => {
                failures.push(format!("{name}: Envoy refuses it and no reason is listed: {message}"));
                continue;
            }
        }
        if let Err(issues) = result {
            failures.extend(issues.iter().map(ToString::to_string));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!((accepted, asides.values().sum::<i32>()), (97, 27), "{asides:?}");
    // No file of the folder is forgotten.
    let files = fs::read_dir(&folder).unwrap().filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "yaml")).count();
    assert_eq!(files, 97 + 27);
}

#[test]
fn every_file_comes_back_the_same_from_its_own_json() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";
        let first = plenipo_api::read(BOOTSTRAP, vec![Input::yaml(fs::read(&path).unwrap())], &Options::default()).unwrap();
        let json = plenipo_api::to_json_unredacted(BOOTSTRAP, &first.bytes).unwrap();
        let again = plenipo_api::read(BOOTSTRAP, vec![Input::json(json.to_string())], &Options::default())
            .unwrap_or_else(|e| panic!("{name}: {}", e[0]));
        assert_eq!(first.bytes, again.bytes, "{name}");
        count += 1;
    }
    assert_eq!(count, 124);
}
