"""The server: sessions over WebSocket, and transcription of whole files over HTTP.

    serve                one process: its socket, its signals, uvicorn
      app                routes, and the models' life around them
        websocket        one session: the socket on one side, `hark.session.Session` on the other
        transcribe       one file, which `upload` receives
          service        what both share: the models, who may come in, draining

`settings`, `auth`, `refusal`, `lingering`, `access` and `logs` know nothing of these.
"""
