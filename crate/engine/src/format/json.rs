//! JSON lines: a template whose strings are formats; values of one operator keep their type.

use serde_json::Value;

use super::{
    Context, FormatError, escape,
    parse::{Formatters, Piece, parse},
    shortest,
    write::Wrote,
};

/// A compiled JSON template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Text that depends on nothing, JSON already.
    Fixed(Vec<u8>),
    /// One operator alone: its type is kept.
    Typed(super::operator::Operator),
    /// A string of several pieces.
    Text(Vec<Piece>),
    /// Keys (JSON already, with the colon), sorted.
    Object(Vec<(Vec<u8>, Node)>),
    Array(Vec<Node>),
    Null,
}

impl Node {
    /// Compiles a template; errors name the key they are under.
    pub(super) fn compile(value: &Value, formatters: Formatters) -> Result<Node, FormatError> {
        Ok(match value {
            Value::Null => Node::Null,
            Value::Bool(b) => Node::Fixed(b.to_string().into_bytes()),
            Value::Number(n) => Node::Fixed(n.as_f64().map_or_else(|| n.to_string(), shortest).into_bytes()),
            Value::String(text) => {
                let mut pieces = parse(text, formatters)?;
                match &pieces[..] {
                    [] => Node::Fixed(b"\"\"".to_vec()),
                    [Piece::Literal(text)] => Node::Fixed(quoted(text)),
                    [Piece::Operator(_)] => match pieces.pop() {
                        Some(Piece::Operator(operator)) => Node::Typed(operator),
                        _ => Node::Null,
                    },
                    _ => Node::Text(pieces),
                }
            }
            Value::Array(values) => Node::Array(values.iter().map(|value| Node::compile(value, formatters)).collect::<Result<_, _>>()?),
            Value::Object(fields) => {
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(b.0));
                let compile = |(key, value): (&String, &Value)| {
                    let node = Node::compile(value, formatters)
                        .map_err(|e| FormatError { position: e.position, message: format!("{key}: {}", e.message) })?;
                    let mut key = quoted(key.as_bytes());
                    key.push(b':');
                    Ok((key, node))
                };
                Node::Object(sorted.into_iter().map(compile).collect::<Result<_, FormatError>>()?)
            }
        })
    }

    /// Writes the value; says whether there was one. Nothing is written where there was none and empty ones are left out.
    pub(super) fn write(&self, context: &Context<'_>, omit: bool, out: &mut Vec<u8>) -> bool {
        match self {
            Node::Fixed(json) => out.extend_from_slice(json),
            Node::Null => return null(omit, out),
            Node::Typed(operator) => {
                let at = out.len();
                out.push(b'"');
                match operator.write(context, out) {
                    Wrote::Absent => {
                        out.truncate(at);
                        return null(omit, out);
                    }
                    Wrote::Text => {
                        escape(out, at + 1);
                        out.push(b'"');
                    }
                    Wrote::Json(_) => {
                        out.remove(at);
                    }
                }
            }
            Node::Text(pieces) => {
                out.push(b'"');
                let at = out.len();
                super::write_pieces(pieces, context, omit, out);
                escape(out, at);
                out.push(b'"');
            }
            Node::Array(nodes) => {
                let at = out.len();
                out.push(b'[');
                for node in nodes {
                    separated(out, at, |out| node.write(context, omit, out));
                }
                out.push(b']');
            }
            Node::Object(fields) => {
                let at = out.len();
                out.push(b'{');
                for (key, node) in fields {
                    separated(out, at, |out| {
                        out.extend_from_slice(key);
                        node.write(context, omit, out)
                    });
                }
                // Empty lists stay, empty objects go.
                if omit && out.len() == at + 1 {
                    out.truncate(at);
                    return false;
                }
                out.push(b'}');
            }
        }
        true
    }
}

/// Writes an element behind a comma, or takes both back where there is none.
fn separated(out: &mut Vec<u8>, open: usize, write: impl FnOnce(&mut Vec<u8>) -> bool) {
    let before = out.len();
    if before > open + 1 {
        out.push(b',');
    }
    if !write(out) {
        out.truncate(before);
    }
}

fn null(omit: bool, out: &mut Vec<u8>) -> bool {
    if !omit {
        out.extend_from_slice(b"null");
    }
    !omit
}

fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    out.extend_from_slice(text);
    escape(&mut out, 1);
    out.push(b'"');
    out
}
