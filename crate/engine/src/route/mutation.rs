//! Header additions and removals of a route, virtual host or route table (`request_headers_to_add` and the like).

use smallvec::SmallVec;

use crate::{
    format::{Context, Program},
    http::{
        h1::{is_joined_in_request, is_joined_in_response},
        header::{HeaderList, HeaderName, Known},
    },
    stream_info::StreamInfo,
};

/// What one level of the configuration does to a header list.
#[derive(Clone, Debug, Default)]
pub struct HeaderMutations {
    /// Removed first.
    pub remove: Vec<HeaderName>,
    /// Added then, in order.
    pub add: Vec<HeaderAddition>,
}

/// `HeaderValueOption`
#[derive(Clone, Debug)]
pub struct HeaderAddition {
    /// The header.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
    /// `append_action`
    pub action: AppendAction,
    /// `keep_empty_value`: an empty value is added too.
    pub keep_empty: bool,
}

/// What happens where the header is already there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendAction {
    /// One more value.
    #[default]
    AppendIfExistsOrAdd,
    /// Nothing.
    AddIfAbsent,
    /// Takes the place of all values.
    OverwriteIfExistsOrAdd,
    /// Takes the place of all values; nothing where the header is absent.
    OverwriteIfExists,
}

/// A value to write.
#[derive(Clone, Debug)]
pub enum HeaderValue {
    /// Written as it is; `%%` has become `%`.
    Literal(Box<[u8]>),
    /// Has operators. Compiled with `omit_empty`, so that what is absent adds nothing.
    Format(Program),
}

impl HeaderMutations {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    /// Changes a request's headers: removes, overwrites, then appends. All values are made before the first is written.
    pub fn apply_to_request(&self, headers: &mut HeaderList, info: &StreamInfo) {
        self.apply(headers, is_joined_in_request, |format, headers, out| format.write(&Context::new(info, Some(headers), None), out));
    }

    /// Changes an answer's headers in the same way; `request` is what `%REQ(...)%` reads.
    pub fn apply_to_response(&self, headers: &mut HeaderList, request: Option<&HeaderList>, info: &StreamInfo) {
        self.apply(headers, is_joined_in_response, |format, headers, out| format.write(&Context::new(info, request, Some(headers)), out));
    }

    fn apply(&self, headers: &mut HeaderList, joined: fn(Known) -> bool, write: impl Fn(&Program, &HeaderList, &mut Vec<u8>)) {
        for name in &self.remove {
            headers.remove_name(name);
        }
        if self.add.is_empty() {
            return;
        }
        let mut text = Vec::new();
        let mut values: SmallVec<[(usize, usize, usize); 8]> = SmallVec::new();
        for (at, addition) in self.add.iter().enumerate() {
            let from = text.len();
            match &addition.value {
                HeaderValue::Literal(literal) => text.extend_from_slice(literal),
                HeaderValue::Format(program) => {
                    write(program, headers, &mut text);
                    if text[from..].iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
                        // It would be more than one header, or none that a peer takes.
                        text.truncate(from);
                        continue;
                    }
                }
            }
            let there = headers.get_name(&addition.name).is_some();
            let wanted = match addition.action {
                AppendAction::AppendIfExistsOrAdd | AppendAction::OverwriteIfExistsOrAdd => true,
                AppendAction::AddIfAbsent => !there,
                AppendAction::OverwriteIfExists => there,
            };
            if wanted && (text.len() > from || addition.keep_empty) {
                values.push((at, from, text.len()));
            }
        }
        for overwrite in [true, false] {
            for (at, from, to) in &values {
                let addition = &self.add[*at];
                let replaces = matches!(addition.action, AppendAction::OverwriteIfExistsOrAdd | AppendAction::OverwriteIfExists);
                match (replaces, overwrite) {
                    (true, true) => headers.set_name(&addition.name, &text[*from..*to]),
                    (false, false) => append(headers, &addition.name, &text[*from..*to], joined),
                    _ => {}
                }
            }
        }
    }
}

/// Adds one more value; the headers that Envoy holds once grow by a comma instead.
fn append(headers: &mut HeaderList, name: &HeaderName, value: &[u8], joined: fn(Known) -> bool) {
    match name.known() {
        known if known != Known::Other && joined(known) => headers.join(known, b",", value),
        _ => headers.append_name(name, value),
    }
}
