"""How clients reach the server: over stdin and stdout for now."""
