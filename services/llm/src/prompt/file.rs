//! A prompt in a file of its own.

use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

/// Why a prompt file is none, or a section of it could not be rendered. Holds no value.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    #[error("prompt file: {0}")]
    File(String),
    #[error("prompt {version}, section {section}: {cause}")]
    Section {
        version: String,
        section: String,
        cause: String,
    },
}

/// A prompt's named sections, each a template, under one version.
///
/// ```text
/// version: difference.v1
///
/// ## system
/// You compare two texts.
///
/// ## item
/// The texts are about {{ title }}.
/// ```
///
/// The templates are Jinja's, without escaping. A value that is missing is an error, and values are
/// never read as templates. A line of `## ` and one lower-case word begins a section; the text
/// before the first is refused.
#[derive(Debug)]
pub struct PromptFile {
    version: String,
    sections: Environment<'static>,
}

impl PromptFile {
    /// Reads a file that is part of the program (`include_str!`).
    ///
    /// # Errors
    /// [`PromptError::File`] for its form, [`PromptError::Section`] for a template's syntax.
    pub fn parse(source: &'static str) -> Result<Self, PromptError> {
        let broken = |cause: &str| PromptError::File(cause.into());
        let (first, rest) = source.split_once('\n').unwrap_or((source, ""));
        let version = first
            .strip_prefix("version: ")
            .map(str::trim)
            .filter(|version| is_name(version, b"._-"))
            .ok_or_else(|| broken("the first line is not \"version: NAME\""))?;
        let mut file = Self {
            version: version.into(),
            sections: environment(),
        };
        let mut name = None;
        let mut start = 0;
        let mut at = 0;
        for line in rest.split_inclusive('\n') {
            let heading = line
                .strip_prefix("## ")
                .map(str::trim)
                .filter(|word| is_name(word, b"_"));
            if let Some(heading) = heading {
                file.add(name.replace(heading), &rest[start..at])?;
                start = at + line.len();
            }
            at += line.len();
        }
        file.add(name, &rest[start..])?;
        if name.is_none() {
            return Err(broken("it has no section"));
        }
        Ok(file)
    }

    fn add(&mut self, name: Option<&'static str>, body: &'static str) -> Result<(), PromptError> {
        let body = body.trim();
        let Some(name) = name else {
            return if body.is_empty() {
                Ok(())
            } else {
                Err(PromptError::File(
                    "there is text before the first section".into(),
                ))
            };
        };
        if self.sections.get_template(name).is_ok() {
            return Err(PromptError::File(format!("section {name} is there twice")));
        }
        let added = self.sections.add_template(name, body);
        added.map_err(|error| self.section(name, &error))
    }

    /// For provenance, such as `difference.v1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Fills a section in. White space around it is cut off.
    ///
    /// # Errors
    /// [`PromptError::Section`] when there is no such section, or a value is missing.
    pub fn render(&self, section: &str, values: impl Serialize) -> Result<String, PromptError> {
        let template = self.sections.get_template(section);
        let text = template.and_then(|template| template.render(values));
        let text = text.map_err(|error| self.section(section, &error))?;
        Ok(text.trim().to_owned())
    }

    fn section(&self, section: &str, error: &minijinja::Error) -> PromptError {
        // The error's detail may quote a value; its kind and place never do.
        let line = error
            .line()
            .map_or(String::new(), |line| format!(", line {line}"));
        PromptError::Section {
            version: self.version.clone(),
            section: section.into(),
            cause: format!("{}{line}", error.kind()),
        }
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment
}

fn is_name(word: &str, also: &[u8]) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || also.contains(&byte);
    !word.is_empty() && word.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    const FILE: &str = "version: difference.v1\n\n## system\nCompare.\n\n## item\nOn {{ title }}:\n\
        {% for tag in tags %}\n- {{ tag }}\n{% endfor %}\nEnd.\n## Not a section\n";

    #[test]
    fn sections_are_rendered_with_their_values() {
        let file = PromptFile::parse(FILE).unwrap();
        assert_eq!(file.version(), "difference.v1");
        assert_eq!(file.render("system", context! {}).unwrap(), "Compare.");
        let item = file.render("item", context! { title => "tea", tags => ["a", "b"] });
        assert_eq!(item.unwrap(), "On tea:\n- a\n- b\nEnd.\n## Not a section");
    }

    #[test]
    fn a_value_is_never_a_template_nor_escaped() {
        let file = PromptFile::parse("version: x\n## item\n{{ title }}").unwrap();
        for title in [
            "{{ secret }} {% raw %} {# no #}",
            "<b> & \"x\"",
            "## system",
        ] {
            assert_eq!(file.render("item", context! { title }).unwrap(), title);
        }
    }

    #[test]
    fn a_missing_value_or_section_is_an_error_without_values() {
        let file = PromptFile::parse(FILE).unwrap();
        let error = file
            .render("item", context! { tags => ["private"] })
            .unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("difference.v1, section item: undefined value"),
            "{error}"
        );
        assert!(!error.contains("private"));
        let error = file.render("nothing", context! {}).unwrap_err().to_string();
        assert!(
            error.contains("section nothing: template not found"),
            "{error}"
        );
    }

    #[test]
    fn a_file_of_another_form_is_refused() {
        for (source, words) in [
            ("", "first line"),
            ("## system\nHello", "first line"),
            ("version: \n## system\nHello", "first line"),
            ("version: Two Words\n## system\nHello", "first line"),
            ("version: x\n", "no section"),
            ("version: x\nHello\n## system\n", "before the first section"),
            ("version: x\n## a\n1\n## a\n2", "section a is there twice"),
            ("version: x\n## a\n{{ open", "section a: syntax error"),
        ] {
            let error = PromptFile::parse(source).unwrap_err().to_string();
            assert!(error.contains(words), "{source:?}: {error}");
        }
    }
}
