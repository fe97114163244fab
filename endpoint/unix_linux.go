package endpoint

// hasAbstract says that Unix sockets may have a name and no file.
const hasAbstract = true
