//! The control file of a package: one paragraph of fields, kept as they were written.
//!
//! Source: deb-control(5). Field names compare without case; a value is kept with its continuation
//! lines as they are.

/// One paragraph, its fields in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    fields: Vec<(String, String)>,
}

/// A line that is no field.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("control file, line {line}: {why}")]
pub struct ControlError {
    /// 1-based.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Control {
    /// Reads a control file.
    ///
    /// # Errors
    /// The first line that is neither a field nor a continuation, or a field given twice.
    pub fn parse(text: &str) -> Result<Self, ControlError> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for (index, line) in text.trim_end_matches('\n').split('\n').enumerate() {
            let fail = |why| ControlError { line: index + 1, why };
            if line.contains(['\r', '\0']) {
                return Err(fail("it holds a carriage return or NUL"));
            }
            if line.trim().is_empty() {
                return Err(fail("a second paragraph begins"));
            }
            if line.starts_with([' ', '\t']) {
                let (_, value) = fields.last_mut().ok_or_else(|| fail("nothing to continue"))?;
                value.push('\n');
                value.push_str(line);
                continue;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| fail("it has no ':'"))?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(fail("its field name is not a word"));
            }
            if fields.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                return Err(fail("the field was given before"));
            }
            fields.push((name.to_owned(), value.trim_start().to_owned()));
        }
        Ok(Self { fields })
    }

    /// The value of a field, without space around it.
    pub fn get(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.trim())
    }

    /// All fields in their order, space at the end of their lines included.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_lines_and_order() {
        let text = "Package: a\nDescription: short\n long\n .\n  more \nversion:  1-2\n";
        let control = Control::parse(text).expect("parses");
        assert_eq!(control.get("VERSION"), Some("1-2"));
        assert_eq!(control.get("description"), Some("short\n long\n .\n  more"));
        assert_eq!(control.get("Depends"), None);
        let names: Vec<_> = control.fields().map(|(name, _)| name).collect();
        assert_eq!(names, ["Package", "Description", "version"]);
    }

    #[test]
    fn what_is_no_paragraph_is_refused() {
        for (text, line) in [
            ("", 1),
            (" a", 1),
            ("Package a", 1),
            ("Package: a\nPACKAGE: b", 2),
            ("Package: a\n\nPackage: b", 2),
            ("Package: a\r\n", 1),
            ("Package: a\nx y: b", 2),
        ] {
            assert_eq!(Control::parse(text).expect_err(text).line, line, "{text:?}");
        }
    }
}
