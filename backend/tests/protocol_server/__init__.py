"""A fake upstream for tests, benchmarks and chaos runs: real sockets, vendors' wires, faults on demand.

| ask for | by |
|---|---|
| OpenAI's wire, stream or not | `POST /v1/chat/completions`: tools, `response_format`, `stream_options.include_usage` |
| Anthropic's wire, stream or not | `POST /v1/messages`: tools, `output_format`, cache tokens, its errors and statuses |
| the models, on both wires | `GET /v1/models`; `server.offer.models` says which |
| llama.cpp's and Ollama's own | `GET /props` (`server.offer.context_tokens`), `POST /tokenize`, `GET /api/tags` |
| a fault for one text | `[[fault:500,stream_stall=2,ok]]` in it: one for each call, the last stays |
| faults for coming calls | `server.script("500", "ok", model="name")`; of all others `server.set_default("503")` |
| a share of faults by weight | `server.set_mix(Mix(0.3, seed=1))` |
| which faults there are | `faults/table.py`; `python -m tests.protocol_server --help` lists them |
| an outage of everything, and its end | `server.go_down("503" or "refused", seconds=2)`, `server.go_up()` |
| a fault of the listings alone | `server.listing_fault = "401"` |
| HTTPS, also with a certificate that ran out | `running_server(tls=Authority().expired())`, see `certificates.py` |
| an answer word for word | `[[answer:It is raining.]]` in the text; `server.answer("text" or {}, model= or marker=)` |
| a valid instance of a schema | a schema or a tool in the request, and nothing scripted (`instances.py`) |
| what happened | `server.calls` (`calls.Call`), `server.stats()`, `server.wait_idle()`; `--log` and `read_calls` |
| pace: the most calls or tokens in any window, gaps | `windows.py` over `server.calls`; `/control/windows` |
| all of it from another process | `/control/...`, see `control.py` |

Nothing here may import from `app`: the fake must not agree with the program by sharing its code.
"""
