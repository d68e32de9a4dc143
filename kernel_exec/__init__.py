"""kernel-exec: an MCP server that runs Python in long-lived kernels and exports notebooks.

The map. Arrows point down; `tests/test_house.py` enforces them.

    cli            the commands a person types
    server         the MCP surface: tools, arguments, what the model sees
    app            the services as fields, opened in order and closed in reverse
    settings       options, environment variables, kernel_exec.toml, defaults
    notebooks      a session as a document
    scripts        stored .py files
    sessions       queue, history, registry
    kernels        messages, outputs, the execution state machine, the local kernel
    environments   interpreters, kernel support, activation, packages
    processes      starts and stops child processes; the only module that does
    errors         what can go wrong

A tool call travels `server/tools_run` -> `sessions/registry` -> `sessions/session` ->
`kernels/kernel` -> `kernels/channels`, whose messages feed `kernels/execution`; its events
come back through the session into `sessions/store`, and `server/content` renders them.

To change                            go to
    when an execution ends           kernels/execution.py (pure)
    what a message means as output   kernels/outputs.py (pure)
    what runs inside the kernel      kernels/_launch.py (stdlib only at import, Python 3.8)
    what the model sees              server/content.py (pure)
    what the notebook shows          notebooks/build.py (pure)
    what a result may cost           the constants at the top of server/content.py
"""
