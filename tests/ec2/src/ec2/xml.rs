//! Writes EC2's answers.

use crate::http::Response;
use crate::refusal::{Outcome, escaped};
use crate::state::Tags;

/// An element's content.
#[derive(Debug, Default)]
pub(crate) struct Xml(String);

impl Xml {
    /// An element with text.
    pub(crate) fn leaf(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.0.push_str(&format!("<{name}>{}</{name}>", escaped(&value.to_string())));
        self
    }

    /// An element with text, if there is any.
    pub(crate) fn maybe(&mut self, name: &str, value: Option<impl std::fmt::Display>) -> &mut Self {
        if let Some(value) = value {
            self.leaf(name, value);
        }
        self
    }

    /// An element with elements.
    pub(crate) fn node(&mut self, name: &str, fill: impl FnOnce(&mut Xml)) -> &mut Self {
        self.0.push_str(&format!("<{name}>"));
        fill(self);
        self.0.push_str(&format!("</{name}>"));
        self
    }

    /// A list of items.
    pub(crate) fn list<T>(&mut self, name: &str, items: impl IntoIterator<Item = T>, fill: impl Fn(&mut Xml, T)) {
        self.node(name, |xml| {
            for item in items {
                xml.node("item", |xml| fill(xml, item));
            }
        });
    }

    /// Text by itself, as in a list of words.
    pub(crate) fn text(&mut self, text: &str) {
        self.0.push_str(&escaped(text));
    }

    pub(crate) fn tags(&mut self, tags: &Tags) {
        self.list("tagSet", tags, |xml, (key, value)| {
            xml.leaf("key", key).leaf("value", value);
        });
    }

    /// The answer of an operation.
    pub(crate) fn answer(action: &str, fill: impl FnOnce(&mut Xml)) -> Outcome {
        let mut xml = Xml::default();
        fill(&mut xml);
        let content = xml.0;
        Ok(Response::xml(
            200,
            &format!(
                "<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
                 <requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE</requestId>{content}</{action}Response>"
            ),
        ))
    }

    /// The answer of an operation that has nothing to tell.
    pub(crate) fn done(action: &str) -> Outcome {
        Xml::answer(action, |xml| {
            xml.leaf("return", "true");
        })
    }
}
