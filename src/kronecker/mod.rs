//! The Kronecker product as an operator (chapter section 5.1).
