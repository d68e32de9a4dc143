"""kernel-exec: an MCP server that runs Python in long-lived kernels and exports notebooks.

The map. Arrows point down; `tests/test_house.py` enforces them.

    cli            the commands a person types
    doctor         whether all that is needed works here, one check for each thing
    host           how clients reach the server: the host process, stdin and stdout
    relay          what a client starts when the host process serves it; imports next to nothing
    http           MCP over HTTP: what may be opened, who gets in, whose session is whose
    server         the MCP surface: tools, their arguments, one way through all of them
    executions     what a connection runs, and how it finds that again
    installs       what a connection installs, and what is installed
    exports        a session as a document, on request run again first
    connection     what is one connection's own; the only thing that tools see
    app            what is everybody's: the services as fields, opened in order
    clients        their configurations, in which they come to start this server
    settings       options, variables, kernel_exec.toml and defaults: the host's, a connection's
    options        everything that can be set, and how each is read
    trust          which configuration files are read, and which the user trusts
    configuration  kernel_exec.toml itself: read, and an environment added to it
    content        what a model sees: text and pictures within a budget, pages of the rest
    documents      a notebook as what people open: a file in one of four formats
    review         a notebook as a page for reviewers: one file, without script or network
    verification   a notebook that is run again, and compared with what it holds
    notebooks      a session as a notebook, the one value that all of these work on
    scripts        stored .py files: saved, appended to, read by pages, confined to their folder
    sessions       queue, ledger, registry
    history        what happened: entries and outputs, database, files beside it, retention
    kernels        messages, outputs, the execution state machine, the local kernel
    packages       which requirements get through, installers, what is installed
    environments   interpreters, conda's prefixes, kernel support, activation
    processes      starts and stops child processes; the only module that does
    log            what went wrong in servers: one file below the storage root
    inherited      umask and limits, which kernels get as their client has them
    leases         files that are locked while their holder lives
    terminal       what a terminal would show of text
    pictures       what kernels draw: opened in one place, shrunk, compared
    places, jsons  where our own files lie; JSON as others send it
    files, signals files written whole, or read though a kernel has them; waking who waits
    inside         what runs in foreign interpreters: run from here, imported by nobody
    errors         what can go wrong

A tool call travels `server/tools_run` -> `executions` -> `sessions/registry` -> `sessions/session`,
its queue and worker -> `kernels/kernel` -> `kernels/driver` -> `kernels/channels`. Messages come
back through the driver and its `kernels/conversation`; the events go through the session into
`history/store`, and while they are committed `server/presenting` has `content/render` render them,
what is long in a thread.

A client that the host process serves has started a relay: `relay/entry` -> `relay/relay`, which
finds the host through `relay/door`, or starts it (`host/start`), and hands over its descriptors;
`host/process` then speaks to the client itself. `server/greeting` answers `initialize`;
`host/opening` imports and opens what tools need (`host/services`) after that. Over HTTP `cli/http`
asks the host to open a door: a request goes through `http/door`, `http/guard` and `http/clients`
into the same server.

To change                            go to
    when an execution ends           kernels/conversation.py (pure)
    what a kernel can be asked       kernels/kernel.py, tests/contracts/test_kernel.py
    who finds which session again    sessions/registry.py
    how sessions are named           sessions/naming.py; by a person: history/entries.py (pure)
    what the command line can ask    host/control.py
    what may be opened over HTTP     http/rules.py (pure)
    how a kernel is started          kernels/launch.py, carried out by kernels/guard.py
    what a message means as output   kernels/outputs.py (pure)
    how messages are signed and read kernels/wire_protocol.py
    what runs inside the kernel      inside/ (stdlib only at import, Python 3.8), from launch.py on
    how a value is described         inside/forms.py, and the modules that it names
    how cells are named and shown    kernels/messages.py (cell_name), inside/sources.py
    what child processes get         inside/kernel.py (keep_to_ourselves)
    what a cell may put out          inside/outlet.py, displays.py, budgets.py
    what a defect in there costs     inside/defence.py
    what the model sees              content/render.py (pure)
    what it sees at a second look    content/news.py (pure)
    what a result may cost           the constants at the top of content/render.py
    what a result advises            content/hints.py (pure), inside/hints.py for what kernels know
    what the notebook shows          notebooks/build.py (pure)
    what a cell or an output becomes notebooks/cells.py, notebooks/outputs.py (pure)
    what code needs to run again     notebooks/needs.py (pure)
    how large a notebook may be      documents/budget.py (pure)
    what the review page shows       review/page.py (pure), its style review/page.css
    what the first screen says       review/opening.py (pure), in notebook, page and report
    which differences are trivial    verification/normalise.py, listings.py (pure)
"""
