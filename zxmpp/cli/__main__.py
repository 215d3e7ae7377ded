"""``python -m zxmpp.cli``"""

from zxmpp.cli import main

main()
