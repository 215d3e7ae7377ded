-- my-name, a component of Prosody. To /etc/prosody/conf.d/my-name.cfg.lua, or to the end of
-- /etc/prosody/prosody.cfg.lua; then: prosodyctl check config && systemctl restart prosody
-- Prosody listens for components on 127.0.0.1, port 5347: see component_ports.

Component "my-name.example.org"
    -- a long random one (openssl rand -hex 20), the same as in ZXMPP_BOT_SECRET
    component_secret = "write-the-secret-here"
