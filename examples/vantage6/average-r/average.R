# The average of a column over all organizations, for generation 4 of vantage6, without its wrapper.

library(jsonlite)

ROWS_MIN <- 10

# A variable that the node has set: base32, with "!" in the place of "=".
variable <- function(name) {
  digits <- match(strsplit(sub("!+$", "", Sys.getenv(name)), "")[[1]], c(LETTERS, 2:7)) - 1
  if (length(digits) == 0) return("")
  bits <- unlist(lapply(digits, function(digit) rev(as.integer(intToBits(digit))[1:5])))
  rawToChar(as.raw(2^(7:0) %*% matrix(head(bits, length(bits) %/% 8 * 8), nrow = 8)))
}

# A file that the node has written, as text.
content <- function(name) {
  path <- variable(name)
  readChar(path, file.size(path), useBytes = TRUE)
}

# --- The node, over HTTP ----------------------------------------------------------------------

# What the token says of this call. It is a JSON Web Token: its middle part is JSON in base64url.
claims <- function() {
  middle <- strsplit(content("TOKEN_FILE"), ".", fixed = TRUE)[[1]][2]
  fromJSON(rawToChar(base64url_dec(middle)), simplifyVector = FALSE)$sub
}

ask <- function(method, path, body = NULL) {
  host <- sub("^http://", "", variable("HOST"))
  text <- if (is.null(body)) "" else toJSON(body, auto_unbox = TRUE, null = "null")
  request <- paste(c(
    sprintf("%s %s%s HTTP/1.0", method, variable("API_PATH"), path),
    sprintf("Host: %s", host),
    sprintf("Authorization: Bearer %s", content("TOKEN_FILE")),
    "Content-Type: application/json",
    sprintf("Content-Length: %d", nchar(text, "bytes")),
    "", text
  ), collapse = "\r\n")
  port <- as.integer(variable("PORT"))
  connection <- socketConnection(host, port, open = "r+b", blocking = TRUE, timeout = 3600)
  on.exit(close(connection))
  writeBin(charToRaw(request), connection)
  answer <- raw()
  while (length(chunk <- readBin(connection, "raw", 65536)) > 0) answer <- c(answer, chunk)
  parts <- regmatches(text <- rawToChar(answer), regexpr("\r\n\r\n", text), invert = TRUE)[[1]]
  if (!grepl("^HTTP/1.. 20", parts[1])) stop(method, " ", path, ": ", parts[2])
  fromJSON(parts[2], simplifyVector = FALSE)
}

# Run a function at organizations, and wait for what they return.
subtask <- function(method, arguments, organizations) {
  call <- toJSON(list(method = method, kwargs = arguments), auto_unbox = TRUE)
  own <- claims()
  task <- ask("POST", "/task", list(
    name = method,
    image = own$image,
    collaboration_id = own$collaboration_id,
    databases = own$databases,
    organizations = lapply(organizations, function(id) list(id = id, input = base64_enc(charToRaw(call))))
  ))
  while (ask("GET", sprintf("/task/%d/status", task$id))$status %in% c("initializing", "pending", "active")) {
    Sys.sleep(1) # The node answers when the task has ended, so that this is for slow ones.
  }
  results <- ask("GET", sprintf("/result?task_id=%d", task$id))$data
  # An organization that failed has no result, and nothing else says so.
  answered <- Filter(function(each) !is.null(each$result), results)
  if (length(answered) < length(organizations)) stop("not every organization answered")
  lapply(answered, function(each) fromJSON(rawToChar(base64_dec(each$result))))
}

# --- What may be called -----------------------------------------------------------------------

average <- function(column) {
  organizations <- ask("GET", sprintf("/organization?collaboration_id=%d", claims()$collaboration_id))$data
  parts <- subtask("sums", list(column = column), lapply(organizations, `[[`, "id"))
  n <- sum(sapply(parts, `[[`, "n"))
  list(n = n, average = sum(sapply(parts, `[[`, "sum")) / n)
}

sums <- function(column) {
  label <- strsplit(variable("USER_REQUESTED_DATABASE_LABELS"), ",")[[1]][1]
  data <- read.csv(variable(paste0(toupper(label), "_DATABASE_URI")))
  values <- na.omit(data[[column]])
  if (length(values) < ROWS_MIN) stop("fewer than ", ROWS_MIN, " values")
  list(n = length(values), sum = sum(values))
}

asked <- fromJSON(content("INPUT_FILE"), simplifyVector = FALSE)
result <- do.call(list(average = average, sums = sums)[[asked$method]], asked$kwargs)
write(toJSON(result, auto_unbox = TRUE, digits = NA), variable("OUTPUT_FILE"))
