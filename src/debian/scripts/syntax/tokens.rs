//! Words and operators of a script, with their lines.

use super::SyntaxError;

/// A piece of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    /// `;` `;;` `&&` `||` `|` `&` `(` `)` or a line break.
    Operator(&'static str),
    /// A redirection; whether it writes somewhere that matters.
    Redirect(bool),
}

/// Takes a script apart. `first_line` is the number of its first line.
pub(super) fn tokens(text: &str, first_line: usize) -> Result<Vec<(usize, Token)>, SyntaxError> {
    Lexer { text, at: 0, line: first_line, pending: Vec::new() }.all()
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    /// Here-documents whose bodies begin on the next line: end mark, tabs stripped.
    pending: Vec<(String, bool)>,
}

impl Lexer<'_> {
    fn all(mut self) -> Result<Vec<(usize, Token)>, SyntaxError> {
        let mut tokens = Vec::new();
        while let Some(c) = self.rest().chars().next() {
            let line = self.line;
            match c {
                ' ' | '\t' => self.at += 1,
                '#' => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                '\\' if self.rest().starts_with("\\\n") => self.newline(2),
                '\n' => {
                    self.newline(1);
                    self.here_documents()?;
                    tokens.push((line, Token::Operator("\n")));
                }
                _ => {
                    let token = match self.operator() {
                        Some(token) => token,
                        None => self.word_or_redirect()?,
                    };
                    tokens.push((line, token));
                }
            }
        }
        Ok(tokens)
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn newline(&mut self, length: usize) {
        self.at += length;
        self.line += 1;
    }

    fn error(&self, what: &str) -> SyntaxError {
        SyntaxError { line: self.line, what: what.to_owned() }
    }

    fn operator(&mut self) -> Option<Token> {
        let operators = ["&&", "||", ";;", ";", "|", "(", ")"];
        let found = operators.into_iter().find(|operator| self.rest().starts_with(operator))?;
        self.at += found.len();
        Some(Token::Operator(found))
    }

    fn word_or_redirect(&mut self) -> Result<Token, SyntaxError> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        if matches!(self.rest().as_bytes().get(digits), Some(b'>' | b'<')) {
            self.at += digits;
            return self.redirect();
        }
        if self.rest().starts_with('&') {
            return Err(self.error("a command in the background"));
        }
        Ok(Token::Word(self.word()?))
    }

    fn redirect(&mut self) -> Result<Token, SyntaxError> {
        let operators = ["<<-", "<<", ">>", ">&", "<&", ">", "<"];
        let operator = operators.into_iter().find(|operator| self.rest().starts_with(operator));
        let operator = operator.expect("the caller saw < or >");
        self.at += operator.len();
        let blank = self.rest().bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        self.at += blank;
        let target = self.word()?;
        if operator.starts_with("<<") {
            let mark = target.replace(['\'', '"', '\\'], "");
            self.pending.push((mark, operator == "<<-"));
        }
        let harmless = operator.starts_with('<') || operator == ">&" || target == "/dev/null";
        Ok(Token::Redirect(!harmless))
    }

    fn here_documents(&mut self) -> Result<(), SyntaxError> {
        for (mark, tabs) in std::mem::take(&mut self.pending) {
            loop {
                if self.rest().is_empty() {
                    return Err(self.error("a here-document without end"));
                }
                let end = self.rest().find('\n').unwrap_or(self.rest().len());
                let line = &self.rest()[..end];
                let found = if tabs { line.trim_start_matches('\t') } else { line } == mark;
                self.newline((end + 1).min(self.rest().len()));
                if found {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A word with its quotes and expansions, as it stands.
    fn word(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        while let Some(c) = self.rest().chars().next() {
            match c {
                ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                '\\' => self.skip_escape(),
                '\'' => self.skip_past('\'')?,
                '"' => self.skip_double()?,
                '`' => self.skip_past('`')?,
                '$' => self.skip_expansion()?,
                _ => self.at += c.len_utf8(),
            }
        }
        if start == self.at {
            return Err(self.error("an operator in an unexpected place"));
        }
        Ok(self.text[start..self.at].to_owned())
    }

    fn skip_escape(&mut self) {
        self.at += 1;
        if let Some(c) = self.rest().chars().next() {
            self.line += usize::from(c == '\n');
            self.at += c.len_utf8();
        }
    }

    fn skip_past(&mut self, quote: char) -> Result<(), SyntaxError> {
        let body = &self.rest()[1..];
        let end = body.find(quote).ok_or_else(|| self.error("a quote without end"))?;
        self.line += body[..end].matches('\n').count();
        self.at += end + 2;
        Ok(())
    }

    fn skip_double(&mut self) -> Result<(), SyntaxError> {
        self.at += 1;
        loop {
            match self.rest().chars().next() {
                None => return Err(self.error("a quote without end")),
                Some('"') => break,
                Some('\\') => self.skip_escape(),
                Some('$') => self.skip_expansion()?,
                Some('`') => self.skip_past('`')?,
                Some(c) => {
                    self.line += usize::from(c == '\n');
                    self.at += c.len_utf8();
                }
            }
        }
        self.at += 1;
        Ok(())
    }

    fn skip_expansion(&mut self) -> Result<(), SyntaxError> {
        self.at += 1;
        let (open, close) = match self.rest().chars().next() {
            Some('{') => ('{', '}'),
            Some('(') => ('(', ')'),
            _ => return Ok(()),
        };
        let mut depth = 0;
        loop {
            match self.rest().chars().next() {
                None => return Err(self.error("an expansion without end")),
                Some('\\') => self.skip_escape(),
                Some('\'') if open == '(' => self.skip_past('\'')?,
                Some('"') => self.skip_double()?,
                Some(c) => {
                    self.line += usize::from(c == '\n');
                    self.at += c.len_utf8();
                    depth += i32::from(c == open) - i32::from(c == close);
                    if depth == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }
}
