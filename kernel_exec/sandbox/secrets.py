"""What no walls show: the user's secrets, by their paths below the home folder. Pure."""

from collections.abc import Iterator, Mapping
from pathlib import Path

_BELOW_HOME = (
    *(".ssh", ".gnupg", ".aws", ".azure", ".config/gcloud", ".config/gh", ".config/hub", ".kube"),
    *(".docker", ".netrc", "_netrc", ".pypirc", ".npmrc", ".git-credentials"),
    *(".config/git/credentials", ".password-store", ".local/share/keyrings", ".config/op"),
    *(".cache/huggingface/token", ".cache/huggingface/stored_tokens", ".huggingface/token"),
    *(".claude", ".claude.json", ".codex", ".gemini", ".copilot", ".config/github-copilot"),
    *(".config/opencode", ".local/share/opencode", ".cursor", ".codeium"),
    *(".vault-token", ".terraform.d/credentials.tfrc.json", ".config/containers", ".pgpass"),
    *(".my.cnf", ".boto", ".s3cfg", ".config/rclone", ".cargo/credentials.toml"),
    ".gem/credentials",
    *(".config/chromium", ".config/google-chrome", ".config/google-chrome-beta"),
    *(".config/BraveSoftware", ".config/microsoft-edge", ".mozilla", ".config/mozilla"),
    *("snap/chromium", "snap/firefox", ".thunderbird"),
    *(".var/app/org.mozilla.firefox", ".var/app/org.chromium.Chromium"),
    *(".var/app/com.google.Chrome", ".var/app/com.brave.Browser", ".var/app/com.microsoft.Edge"),
    *("Library/Keychains", "Library/Application Support/Google/Chrome"),
    *("Library/Application Support/Firefox", "Library/Application Support/BraveSoftware"),
    *("Library/Application Support/Microsoft Edge", "Library/Application Support/Chromium"),
    *(".bash_history", ".zsh_history", ".zhistory", ".histfile", ".sh_history", ".ksh_history"),
    *(".python_history", ".node_repl_history", ".psql_history", ".mysql_history"),
    *(".sqlite_history", ".rediscli_history", ".lesshst", ".local/share/fish/fish_history"),
    *(".ipython/profile_default/history.sqlite", ".Rhistory", ".local/share/jupyter/runtime"),
    *(".kaggle", ".local/share/uv/credentials", ".pip", ".config/pip", ".databrickscfg", ".oci"),
    *(".snowflake", ".config/doctl", ".fly", ".config/glab-cli", ".config/sops", ".age"),
    *(".config/Code/User/globalStorage", ".vscode-server/data/User/globalStorage"),
    *(".config/vivaldi", ".config/opera", ".config/Signal", ".local/share/TelegramDesktop"),
    *(".electrum", ".bitcoin", ".ethereum", ".config/solana"),
    *(".local/share/zsh", ".zsh_sessions", ".bash_sessions", ".config/fish/fish_history"),
    ".local/share/kernel-exec/.kernel_exec",
)

_BY_VARIABLE = {
    "GNUPGHOME": "", "AWS_SHARED_CREDENTIALS_FILE": "", "AWS_CONFIG_FILE": "",
    "AZURE_CONFIG_DIR": "", "CLOUDSDK_CONFIG": "", "GH_CONFIG_DIR": "", "KUBECONFIG": "",
    "DOCKER_CONFIG": "", "NETRC": "", "NPM_CONFIG_USERCONFIG": "", "PASSWORD_STORE_DIR": "",
    "HF_HOME": "token", "HF_TOKEN_PATH": "", "CLAUDE_CONFIG_DIR": "", "CODEX_HOME": "",
    "GEMINI_CONFIG_DIR": "", "HISTFILE": "", "GOOGLE_APPLICATION_CREDENTIALS": "", "PGPASSFILE": "",
    "XDG_CONFIG_HOME": "gcloud gh hub chromium google-chrome BraveSoftware microsoft-edge",
    "XDG_DATA_HOME": "keyrings jupyter/runtime kernel-exec/.kernel_exec",
    "JUPYTER_RUNTIME_DIR": "", "IPYTHONDIR": "profile_default/history.sqlite",
    "XDG_CACHE_HOME": "huggingface/token",
}  # fmt: skip
"""Variables that move a secret elsewhere: to what they name, or to these below it."""


def secrets_below(home: Path) -> Iterator[Path]:
    """Where secrets may lie of a user with this home folder; most are missing."""
    return (home / below for below in _BELOW_HOME)


def secrets_named(variables: Mapping[str, str]) -> Iterator[Path]:
    """Where variables of a user have moved some of them."""
    for variable, below in _BY_VARIABLE.items():
        for place in variables.get(variable, "").split(":" if variable == "KUBECONFIG" else "\0"):
            if Path(place).is_absolute():
                yield from (Path(place, each) for each in below.split() or [""])
