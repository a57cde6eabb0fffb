//! Normalization of paths: done twice it changes nothing more, and what it is to remove is gone.

use plenipo_engine::http::{
    normalize::{Normalized, PathVerdict, normalize_path},
    settings::{EscapedSlashes, PathOptions},
};
use plenipo_testkit::fuzz::fuzz;

#[test]
fn normalization() {
    let words = ["/", "//", "/.", "/..", "/../", "%2e", "%2E%2e", "%2f", "%5C", "\\", "?", "%", "%25", ";", "%00", "a"];
    fuzz(include_str!("../../corpus/path.txt"), &words, |input, numbers| {
        // No codec lets a control byte or a space come this far.
        if input.iter().any(|b| b.is_ascii_control() || *b == b' ') {
            return 9;
        }
        let target = [b"/", input].concat();
        let escaped_slashes = *numbers.of(&[
            EscapedSlashes::Keep,
            EscapedSlashes::Reject,
            EscapedSlashes::UnescapeAndRedirect,
            EscapedSlashes::UnescapeAndForward,
        ]);
        let options = PathOptions { normalize: numbers.below(2) == 0, merge_slashes: numbers.below(2) == 0, escaped_slashes };
        let Normalized { path, verdict } = normalize_path(&target, options);
        if verdict == PathVerdict::Reject {
            return 0;
        }
        assert!(verdict == PathVerdict::Forward || escaped_slashes == EscapedSlashes::UnescapeAndRedirect);
        let outcome = 1 + i32::from(path.is_some()) + 2 * i32::from(verdict == PathVerdict::Redirect);
        let new = path.unwrap_or_else(|| target.clone());
        let split = |text: &[u8]| {
            let (path, query) = text.split_at(text.iter().position(|b| *b == b'?').unwrap_or(text.len()));
            (path.to_vec(), query.to_vec())
        };
        let (path, query) = split(&new);
        assert_eq!(query, split(&target).1, "the query is left alone");
        assert_eq!(path[0], b'/');
        let has = |needle: &[u8]| path.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle));
        if options.normalize {
            assert!(
                !has(b"/./") && !has(b"/../") && !has(b"\\") && !path.ends_with(b"/.") && !path.ends_with(b"/.."),
                "dots and backslashes"
            );
        }
        if options.merge_slashes {
            assert!(!has(b"//") || path == b"//", "slashes, but for a path of nothing else, as in Envoy");
        }
        if escaped_slashes != EscapedSlashes::Keep && !options.normalize {
            assert!(escaped_slashes != EscapedSlashes::Reject || !has(b"%2f") && !has(b"%5c"));
        }
        let again = normalize_path(&new, options);
        assert_eq!(
            again,
            Normalized { path: None, verdict: PathVerdict::Forward },
            "{} became {}",
            target.escape_ascii(),
            new.escape_ascii()
        );
        outcome
    });
}
