from byolmeta.commands import main

main()
