from byolmeta.cli import main

main()
